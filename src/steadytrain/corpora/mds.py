"""MosaicML Streaming's shards (MDS): text, or token ids in a column of arrays or of bytes.

A shard, little-endian: number of samples N [u32], where each begins and the last ends
[(N + 1) x u32], the columns as JSON, the samples. A sample: the size of each column that has no
fixed one [u32], then the columns' values, in the order of the JSON. A shard tells all about itself;
index.json only says which shards there are and which are compressed.

Source: streaming 0.13, base/format/mds (writer.py, encodings.py). Tested on shards that its
MDSWriter wrote (str, bytes, ndarray with and without a type, int, json; zstd, gz, bz2), where it is
installed, and on shards that a writer of the tests makes.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytrain.corpora.documents import (
    Document,
    Piece,
    decoded,
    domain_of,
    id_of,
    lost,
    unopened,
)
from steadytrain.corpora.parquet import TOKENS
from steadytrain.corpora.streams import MissingError, Stream, TornError

INDEX = "index.json"
VALUE_TYPES = {
    8: "u1", 9: "i1", 16: "<u2", 17: "<i2", 32: "<u4", 33: "<i4", 64: "<u8", 65: "<i8",
}  # fmt: skip
WHOLE_NUMBERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")


class ShardError(Exception):
    """A shard cannot be used; says why. Never leaves this file."""


def shards_of(folder: Path) -> list[tuple[str, str]] | None:
    """(name of the shard, name of the file to read) by index.json; None if it is not MDS's."""
    try:
        index = json.loads((folder / INDEX).read_bytes())
        if not isinstance(index, dict) or "shards" not in index:
            return None
        return [
            (one["raw_data"]["basename"], _stored(folder, one))
            for one in index["shards"]
            if one["format"] == "mds"
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _stored(folder: Path, shard: dict[str, Any]) -> str:
    raw = str(shard["raw_data"]["basename"])
    packed = shard.get("zip_data")
    return raw if not packed or (folder / raw).exists() else str(packed["basename"])


def read_mds(path: Path, name: str, column: str = "text") -> Iterator[Piece]:
    """A document per sample of a shard, numbered from 0; columns `id` and `domain` are honoured."""
    try:
        stored = path.stat().st_size
        shard = _Shard.of(b"".join(Stream(path).blocks()))
        source, kind = shard.column(column)
    except FileNotFoundError:
        yield lost(name, "is named by index.json and is not there. Fetch it again.")
        return
    except (TornError, MissingError) as e:
        yield lost(name, f"{e}. Its samples were not linted.")
        return
    except ShardError as e:
        yield lost(name, f"{e}, so its samples were not linted.")
        return
    except OSError as e:
        yield unopened(name, e)
        return
    for number in range(shard.num_samples):
        at = stored * (number + 1) // shard.num_samples
        try:
            sample = shard.sample(number)
            tokens = None if kind == "str" else _ids(kind, sample[source])
            own = [_plain(shard.kinds.get(one), sample.get(one)) for one in ("id", "domain")]
        except (ShardError, ValueError, struct.error) as e:
            yield lost(name, f"is damaged or torn there: {e}", number=number, at=at)
            continue
        text, remark = None, None
        if kind == "str":
            text, remark = decoded(sample[source], name, number, at)
        if remark is not None:
            yield remark
        yield Document(
            file=name,
            number=number,
            id=id_of(own[0], number),
            domain=domain_of(own[1]),
            text=text,
            tokens=tokens,
            at=at,
        )


@dataclass(frozen=True, slots=True)
class _Shard:
    """A shard in memory. Attributes: kinds: the encoding of each column, in their order."""

    content: bytes
    num_samples: int
    begins: NDArray[np.uint32]
    kinds: dict[str, str]
    sizes: tuple[int | None, ...]

    @classmethod
    def of(cls, content: bytes) -> "_Shard":
        if len(content) < 8:
            raise ShardError(f"has {len(content)} bytes and is no shard of MDS")
        (num_samples,) = struct.unpack_from("<I", content)
        header = 4 * (num_samples + 2)
        if header > len(content):
            raise ShardError(
                f"has {len(content)} bytes, too few for the {num_samples} samples it begins with"
            )
        begins = np.frombuffer(content, "<u4", num_samples + 1, offset=4)
        try:
            columns = json.loads(content[header : int(begins[0])])
            kinds = dict(zip(columns["column_names"], columns["column_encodings"], strict=True))
            sizes = tuple(columns["column_sizes"])
        except (ValueError, KeyError, TypeError) as e:
            raise ShardError("does not say its columns: it is no shard of MDS") from e
        return cls(content, num_samples, begins, kinds, sizes)

    def column(self, wanted: str) -> tuple[str, str]:
        """The column to read and its encoding: text, or, in place of "text", one of ids."""
        for name in (wanted, *TOKENS) if wanted == "text" else (wanted,):
            kind = self.kinds.get(name, "").split(":")
            if kind[0] in ("str", "bytes", "ndarray") and (
                len(kind) == 1 or kind[1] in WHOLE_NUMBERS
            ):
                return name, self.kinds[name]
        listed = ", ".join(f"{name} ({kind})" for name, kind in self.kinds.items())
        texts = [name for name, kind in self.kinds.items() if kind == "str"]
        raise ShardError(
            f"has no column {wanted!r} of str, bytes or ndarray but {listed}; write --column "
            f"{texts[0] if texts else 'NAME'}"
        )

    def sample(self, number: int) -> dict[str, bytes]:
        begin, end = int(self.begins[number]), int(self.begins[number + 1])
        if not begin <= end <= len(self.content):
            raise ShardError(f"the shard ends at byte {len(self.content)}, the sample at {end}")
        sizes = []
        for size in self.sizes:
            if size:
                sizes.append(size)
            else:
                sizes.append(struct.unpack_from("<I", self.content, begin)[0])
                begin += 4
        if begin + sum(sizes) > end:
            raise ShardError("its columns are longer than the sample")
        values = {}
        for name, size in zip(self.kinds, sizes, strict=True):
            values[name] = self.content[begin : begin + size]
            begin += size
        return values


def _ids(kind: str, value: bytes) -> NDArray[np.integer] | bytes:
    """Ids of an array as NumPy reads it; of plain bytes the width is found later."""
    name, _, rest = kind.partition(":")
    if name == "bytes":
        return value
    dtype, _, shape = rest.partition(":")
    at = 0
    if dtype:
        type_code = np.dtype(dtype).newbyteorder("<")
    else:
        if value[:1] == b"" or value[0] not in VALUE_TYPES:
            raise ShardError("an array of no type of whole numbers")
        type_code, at = np.dtype(VALUE_TYPES[value[0]]), 1
    if not shape:
        rank, width = value[at] >> 2, 1 << (value[at] & 3)
        at += 1 + rank * width
    return np.frombuffer(value[at:], type_code)


def _plain(kind: str | None, value: bytes | None) -> Any:
    """An id or a domain, where its encoding is one of those that name things."""
    if kind is None or value is None:
        return None
    if kind in ("str", "str_int"):
        return value.decode("utf-8", "replace")
    if kind == "int":
        return int.from_bytes(value, "little", signed=True)
    if kind in WHOLE_NUMBERS:
        return int(np.frombuffer(value, np.dtype(kind).newbyteorder("<"))[0])
    return None
