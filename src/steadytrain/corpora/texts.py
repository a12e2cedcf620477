"""Plain text and JSON Lines, compressed or not."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from steadytrain.corpora.documents import (
    Document,
    Piece,
    Trouble,
    decoded,
    domain_of,
    id_of,
    lost,
    unopened,
)
from steadytrain.corpora.streams import LONGEST_LINE, MissingError, Stream, TornError

PART_BYTES = 1 << 24
"""A text file beyond 16 MiB is linted in parts that end at a line; guess: a verdict on a part of
that size says more than one on a whole dump, and memory stays bounded."""

SHOWN_NAMES = 12


def read_text(path: Path, name: str, column: str = "text") -> Iterator[Piece]:
    """A file as one document, or as parts numbered by their first line."""
    stream = Stream(path)
    held, line = bytearray(), 1
    is_split = False
    try:
        for block in stream.blocks():
            held += block
            while len(held) > PART_BYTES:
                is_split = True
                cut = held.rfind(b"\n", 0, PART_BYTES) + 1 or PART_BYTES
                part, held = bytes(held[:cut]), held[cut:]
                yield from _part(part, name, line, stream.at)
                line += part.count(b"\n")
    except (TornError, MissingError) as e:
        if held:
            yield from _part(bytes(held), name, line, stream.at)
        yield _unread(name, e, stream.at, "text")
        return
    except OSError as e:
        yield unopened(name, e)
        return
    if held:
        yield from _part(bytes(held), name, line if is_split else None, stream.at)


def read_lines(path: Path, name: str, column: str = "text") -> Iterator[Piece]:
    """A record a line; its own `id` and `domain` are honoured."""
    stream, number = Stream(path), 0
    decoder = _decoder(column)
    try:
        for number, line in enumerate(stream.lines(), 1):
            if line is None:
                yield lost(
                    name,
                    f"is longer than {LONGEST_LINE >> 20} MiB, so its document was not linted. "
                    f"Write its text as several records.",
                    number=number,
                    at=stream.at,
                )
            elif line.strip():
                yield from _record(line, name, number, column, decoder, stream.at)
    except (TornError, MissingError) as e:
        yield _unread(name, e, stream.at, f"documents after line {number}")
    except OSError as e:
        yield unopened(name, e)


def holds_records(path: Path, column: str = "text") -> bool:
    """Whether a .json file is JSON Lines, as C4's are: its first line is a record."""
    try:
        first = next(Stream(path).lines(), None)
    except (OSError, TornError, MissingError):
        return False
    try:
        record = msgspec.json.decode(first or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return isinstance(record, dict) and isinstance(record.get(column), str)


def _part(raw: bytes, name: str, line: int | None, at: int) -> Iterator[Piece]:
    text, remark = decoded(raw.removeprefix(b"\xef\xbb\xbf"), name, line, at)
    if remark is not None:
        yield remark
    yield Document(file=name, number=line, id=line, text=text, at=at)


def _unread(name: str, error: Exception, at: int, rest: str) -> Trouble:
    if isinstance(error, MissingError):
        return lost(name, str(error), at=at)
    return lost(
        name,
        f"{error}; what came before was linted, the {rest} could not be read. "
        f"Fetch or write the file again.",
        at=at,
    )


def _decoder(column: str) -> "msgspec.json.Decoder[Any]":
    """Of the fields that matter; others are skipped without being built."""
    fields: list[Any] = [("text", str | None), ("id", Any, None), ("domain", Any, None)]
    return msgspec.json.Decoder(msgspec.defstruct("Record", fields, rename={"text": column}))


def _record(
    line: bytes, name: str, number: int, column: str, decoder: "msgspec.json.Decoder[Any]", at: int
) -> Iterator[Piece]:
    try:
        found = decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        yield from _odd_record(line, name, number, column, at)
        return
    yield Document(
        file=name,
        number=number,
        id=id_of(found.id, number),
        domain=domain_of(found.domain),
        text=found.text or "",
        at=at,
    )


def _odd_record(line: bytes, name: str, number: int, column: str, at: int) -> Iterator[Piece]:
    """A line that strict reading refuses: other bytes than UTF-8, a cut pair, or no record."""
    written, remark = decoded(line.removeprefix(b"\xef\xbb\xbf"), name, number, at)
    try:
        record = json.loads(written, strict=False)
    except (ValueError, RecursionError) as e:
        yield lost(
            name,
            f"is no JSON ({e}), so its document was not linted. "
            f'Write one {{"{column}": "..."}} on each line.',
            number=number,
            at=at,
        )
        return
    text = record.get(column, ...) if isinstance(record, dict) else ...
    if not (text is None or isinstance(text, str)):
        yield lost(name, _without_text(record, column), number=number, at=at)
        return
    if remark is not None:
        yield remark
    yield Document(
        file=name,
        number=number,
        id=id_of(record.get("id"), number),
        domain=domain_of(record.get("domain")),
        text=(text or "").encode("utf-8", "replace").decode(),
        at=at,
    )


def _without_text(record: Any, column: str) -> str:
    if not isinstance(record, dict):
        return (
            f"is JSON but no object, so there is no field {column!r} to lint. "
            f'Write one {{"{column}": "..."}} on each line.'
        )
    texts = [key for key, value in record.items() if isinstance(value, str)]
    listed = ", ".join(list(record)[:SHOWN_NAMES]) or "nothing"
    if column in record:
        said = f"has {record[column]!r:.40} in field {column!r}, which is no text"
    else:
        said = f"has no field {column!r} but {listed}"
    best = max(texts, key=lambda key: len(record[key]), default="NAME")
    return f"{said}, so its document was not linted. Write --column {best}."
