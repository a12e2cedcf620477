"""What every reader of a corpus gives, in the order of the file: documents, and what is amiss.

A reader is a function (path, name, column) -> Iterator[Piece]. It holds one block, row group or
shard at a time, never raises for a broken file, and goes on behind the damage where it can.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

DocumentId = str | int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One text of a corpus.

    Attributes:
        file: the path as the user wrote it, or as found below the folder that the user wrote.
        number: which document of the file it is: a line from 1, or a row, sample or document from
            0, as the format's own library counts; None where the file is the document.
        id: the record's own, else `number`.
        domain: the record's own, None where it says nothing.
        text: None where it must be decoded from `tokens` first.
        tokens: token ids, or bytes that hold ids of a width that nobody wrote down.
        at: where the document ends in the file. [bytes, as stored]
    """

    file: str
    number: int | None = None
    id: DocumentId = None
    domain: str | None = None
    text: str | None = None
    tokens: NDArray[np.integer] | bytes | None = None
    at: int = 0

    @property
    def source(self) -> str:
        return self.file if self.number is None else f"{self.file}:{self.number}"

    @property
    def weight(self) -> int:
        """About how many characters it has."""
        if self.text is not None:
            return len(self.text)
        return 0 if self.tokens is None else 4 * len(self.tokens)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """A part of a corpus that is not as it should be.

    Attributes:
        why: what is wrong, what it breaks, what to write instead.
        level: "lost", it could not be read; "remark", it was read, in a way one should know;
            "passed", it is no text and nobody asked for it by name.
    """

    file: str
    source: str
    why: str
    level: Literal["lost", "remark", "passed"] = "lost"
    at: int = 0


Piece = Document | Trouble
Reader = Callable[[Path, str, str], Iterator[Piece]]


def lost(file: str, why: str, *, number: int | None = None, at: int = 0) -> Trouble:
    source = file if number is None else f"{file}:{number}"
    return Trouble(file=file, source=source, why=why, at=at)


def unopened(file: str, error: OSError) -> Trouble:
    return lost(
        file,
        f"cannot be read ({error.strerror or error}), so its documents were not linted. "
        f"Write a path that this user may read.",
    )


def id_of(value: Any, number: int) -> DocumentId:
    """A record's own id if it is a string or a whole number, its JSON text if it is more."""
    if value is None:
        return number
    if isinstance(value, str) or type(value) is int:
        return value
    if isinstance(value, np.integer):
        return int(value)
    return msgspec.json.encode(value, enc_hook=str).decode()


def domain_of(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def decoded(raw: bytes, file: str, number: int | None, at: int) -> tuple[str, Trouble | None]:
    """Bytes as UTF-8; a fault becomes U+FFFD, and is named."""
    try:
        return raw.decode(), None
    except UnicodeDecodeError as e:
        remark = Trouble(
            file=file,
            source=file if number is None else f"{file}:{number}",
            why=f"has byte 0x{raw[e.start]:02x}, which is not UTF-8, at offset {e.start}; it was "
            f"linted with U+FFFD in place of such bytes, as a trainer would read it. Convert "
            f"Chinese text with `iconv -f GB18030 -t UTF-8`.",
            level="remark",
            at=at,
        )
        return raw.decode("utf-8", "replace"), remark
