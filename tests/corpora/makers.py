"""Corpora on disk for the tests, written by the layouts that the formats publish."""

import json
import struct

import numpy as np

CLEAN = (
    "The loss of a long run falls, and then, one night, it does not fall any more. Somebody wakes, "
    "looks at a curve, guesses, rolls back by hand, and writes down what was learned from it."
)
BLANK = "\n" * 400


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(lines, encoding="utf-8")
    return path


def write_megatron(stem, documents, *, dtype="<u2", code=8):
    """documents -> sequences -> ids."""
    sequences = [np.asarray(ids, dtype) for document in documents for ids in document]
    lengths = np.array([len(ids) for ids in sequences], "<i4")
    sizes = lengths.astype("<i8") * np.dtype(dtype).itemsize
    pointers = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype("<i8")
    edges = np.cumsum([0, *map(len, documents)]).astype("<i8")
    head = struct.pack("<9sQBQQ", b"MMIDIDX\0\0", 1, code, len(sequences), len(edges))
    stem.with_suffix(".idx").write_bytes(
        head + lengths.tobytes() + pointers.tobytes() + edges.tobytes()
    )
    stem.with_suffix(".bin").write_bytes(b"".join(ids.tobytes() for ids in sequences))
    return stem.with_suffix(".idx")


def write_mds(path, columns, samples):
    """columns: name -> (encoding, fixed size or None); samples: name -> encoded bytes."""
    names = sorted(columns)
    config = json.dumps(
        {
            "column_encodings": [columns[name][0] for name in names],
            "column_names": names,
            "column_sizes": [columns[name][1] for name in names],
        },
        sort_keys=True,
    ).encode()
    encoded = []
    for sample in samples:
        loose = [len(sample[name]) for name in names if columns[name][1] is None]
        values = b"".join(sample[name] for name in names)
        encoded.append(struct.pack(f"<{len(loose)}I", *loose) + values)
    begin = 4 * (len(samples) + 2) + len(config)
    begins = np.cumsum([begin, *map(len, encoded)]).astype("<u4")
    path.write_bytes(
        struct.pack("<I", len(samples)) + begins.tobytes() + config + b"".join(encoded)
    )
    return path


def ids(text):
    return list(text.encode())
