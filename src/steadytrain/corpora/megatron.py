"""Megatron-LM's indexed datasets: token ids in NAME.bin, where each document lies in NAME.idx.

The index, little-endian: "MMIDIDX\\0\\0", version 1 [u64], code of the id type [u8], number of
sequences S [u64] and of document edges D [u64]; then the length of each sequence [S x i32, ids],
its place in NAME.bin [S x i64, bytes], the sequences at which documents begin, and S [D x i64];
and, in multimodal sets, a mode per sequence [S x i8]. A document is the ids of its sequences.

Source: the layout written in megatron/core/datasets/indexed_dataset.py, release 0.12. Tested on
files that a writer of the tests makes by that layout; no file of Megatron itself was at hand.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steadytrain.corpora.documents import Document, Piece, lost, unopened

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
HEAD = struct.Struct("<9sQBQQ")
TYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 6: "<f8", 7: "<f4", 8: "<u2"}


class TornIndexError(Exception):
    """The index cannot be used; says why. Never leaves this file."""


@dataclass(frozen=True, slots=True)
class _Index:
    """Where the documents lie.

    Attributes:
        dtype: of an id.
        lengths, pointers: ids and first byte of each sequence.
        edges: first sequence of each document, then the number of sequences.
    """

    dtype: np.dtype[np.integer]
    lengths: NDArray[np.int32]
    pointers: NDArray[np.int64]
    edges: NDArray[np.int64]


def read_megatron(path: Path, name: str, column: str = "text") -> Iterator[Piece]:
    """A document per document of the index, numbered from 0. `path` is the .idx."""
    content, file = path.with_suffix(".bin"), name.removesuffix(".idx") + ".bin"
    try:
        index = _read_index(path)
        size = content.stat().st_size
        ids = np.memmap(content, np.uint8, "r") if size else np.zeros(0, np.uint8)
    except TornIndexError as e:
        yield lost(name, f"{e}, so its documents were not linted. Make the index again.")
        return
    except FileNotFoundError:
        yield lost(
            name,
            f"has no {content.name} beside it, so there are no ids to lint. Put it there.",
        )
        return
    except OSError as e:
        yield unopened(name, e)
        return
    width = index.dtype.itemsize
    for number in range(len(index.edges) - 1):
        first, end = int(index.edges[number]), int(index.edges[number + 1])
        spans = [
            (int(index.pointers[s]), int(index.pointers[s]) + int(index.lengths[s]) * width)
            for s in range(first, end)
        ]
        if any(begin < 0 or begin > stop or stop > size for begin, stop in spans):
            yield lost(
                file,
                f"ends at byte {size}, before document {number} of {len(index.edges) - 1} does; "
                f"it and those behind it that lack bytes were not linted. Fetch or make the "
                f"pair of files again.",
                number=number,
                at=size,
            )
            continue
        parts = [ids[begin:stop] for begin, stop in spans]
        joined = np.concatenate(parts) if parts else np.zeros(0, np.uint8)
        at = spans[-1][1] if spans else 0
        yield Document(file=file, number=number, id=number, tokens=joined.view(index.dtype), at=at)


def is_index(path: Path) -> bool:
    """Whether this file begins as an index of Megatron does."""
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _read_index(path: Path) -> _Index:
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(HEAD.size)
    if len(head) < HEAD.size:
        raise TornIndexError(f"has {size} bytes; an index of Megatron has {HEAD.size} at the least")
    magic, version, code, sequences, edges = HEAD.unpack(head)
    if magic != MAGIC:
        raise TornIndexError(f"begins with {magic!r}, not {MAGIC!r}: it is no index of Megatron")
    if version != VERSION:
        raise TornIndexError(f"is of version {version}; known is {VERSION}")
    if "f" in TYPES.get(code, "f"):
        raise TornIndexError(f"has ids of type {code}, which is no type of whole numbers")
    needed = HEAD.size + 12 * sequences + 8 * edges
    if size not in (needed, needed + sequences):
        raise TornIndexError(
            f"has {size} bytes; {sequences} sequences and {edges} edges take {needed}: it is torn"
        )
    whole = np.memmap(path, np.uint8, "r")
    lengths, pointers, documents = np.split(
        whole[HEAD.size : needed], [4 * sequences, 12 * sequences]
    )
    found = _Index(
        np.dtype(TYPES[code]),
        lengths.view("<i4"),
        pointers.view("<i8"),
        documents.view("<i8"),
    )
    bounds = found.edges
    if len(bounds) and (bounds[0] < 0 or bounds[-1] > sequences or np.any(np.diff(bounds) < 0)):
        raise TornIndexError("names sequences that it does not have")
    return found
