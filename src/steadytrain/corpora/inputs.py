"""Paths, folders and patterns -> the files to read, each with its reader, in a fixed order."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from steadytrain.corpora.documents import Document, Piece, Reader, Trouble, lost, unopened
from steadytrain.corpora.mds import INDEX, read_mds, shards_of
from steadytrain.corpora.megatron import is_index, read_megatron
from steadytrain.corpora.parquet import read_parquet
from steadytrain.corpora.streams import MissingError, Stream, TornError
from steadytrain.corpora.texts import holds_records, read_lines, read_text

PASSED_BY = frozenset({"__pycache__", "node_modules"})
PACKED = frozenset({".gz", ".zst", ".zstd", ".bz2", ".xz"})
SURELY_TEXT = frozenset({".txt", ".text", ".md", ".markdown", ".rst"})
"""A NUL byte in one of these is damage; in any other file of a folder it says: no text."""

HEAD_BYTES = 8192  # where a NUL byte is looked for. Source: git's buffer_is_binary

FORMATS = (
    ".txt, .md and other text, .jsonl (each also as .gz, .zst, .bz2, .xz), .parquet, Megatron's "
    ".bin with .idx, MosaicML's MDS"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """A file to read.

    Attributes:
        name: the path as the user wrote it, or as found below what the user wrote.
        is_named: the user wrote this very file.
        size: with what belongs to it; None where it is not there. [bytes]
        changed: when it was last written. [ns since 1970]
    """

    path: Path
    name: str
    is_named: bool
    size: int | None
    changed: int


def find(paths: Sequence[str]) -> list[Input]:
    """The files of these paths, each once; a path that is not there is found as such."""
    found: dict[str, Input] = {}
    for given in paths:
        for one in _expanded(given):
            place = os.path.realpath(one.path)
            if place not in found or (one.is_named and not found[place].is_named):
                found[place] = one
    return list(found.values())


def read(one: Input, *, column: str, can_decode: bool) -> Iterator[Piece]:
    """What a file holds; at least one piece, whatever befell it."""
    if one.size is None:
        yield _missing(one)
        return
    if one.size == 0:
        yield _empty(one)
        return
    try:
        reader = _reader(one, column)
    except OSError as e:
        yield unopened(one.name, e)
        return
    if reader is None:
        suffix = one.path.suffix or "without suffix"
        yield Trouble(file=one.name, source=one.name, why=suffix, level="passed", at=one.size)
        return
    nothing = True
    for piece in reader(one.path, one.name, column):
        if isinstance(piece, Document) and piece.text is None and not can_decode:
            yield lost(
                one.name,
                "holds token ids, which cannot be read as text without their tokenizer, so it was "
                "not linted. Write --tokenizer with the tokenizer.json that it was made with.",
                at=one.size,
            )
            return
        yield piece
        nothing = False
    if nothing:
        yield _empty(one)


def _expanded(given: str) -> Iterator[Input]:
    path = Path(given).expanduser()
    if path.is_dir():
        names = list(_walk(path, given.rstrip("/")))
        if not names:
            yield _input(path, given, is_named=True)
        yield from names
    elif path.exists() or path.with_name(path.name + ".idx").exists():
        yield _named(path, given)
    else:
        matches = sorted(glob.glob(str(path), recursive=True))
        for match in matches:
            # A pattern may match both a folder and what lies in it; `find` drops the second.
            if Path(match).is_dir():
                yield from _walk(Path(match), match.rstrip("/"))
            else:
                yield _named(Path(match), match)
        if not matches:
            yield Input(path=path, name=given, is_named=True, size=None, changed=0)


def _named(path: Path, given: str) -> Input:
    """A file that the user wrote; either half, or the stem, of Megatron's pair is the pair."""
    for index, name in (
        (path.with_suffix(".idx"), f"{given.removesuffix('.bin')}.idx"),
        (path.with_name(path.name + ".idx"), f"{given}.idx"),
    ):
        if (path.suffix == ".bin" or not path.exists()) and index.exists():
            return _input(index, name, is_named=True)
    return _input(path, given, is_named=True)


def _walk(folder: Path, name: str) -> Iterator[Input]:
    """Files of a folder and below, sorted; no hidden ones. A folder of MDS gives its shards."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if one not in PASSED_BY and one[0] != ".")
        here = Path(root)
        inner = here.relative_to(folder).as_posix()
        prefix = f"{name}/" if inner == "." else f"{name}/{inner}/"
        of_shards = set()
        for raw, stored in (shards_of(here) if INDEX in files else None) or ():
            of_shards |= {INDEX, raw, stored}
            yield _input(here / stored, prefix + stored, is_named=True)
        for file in sorted(files):
            if file[0] == "." or file in of_shards:
                continue
            if file.endswith(".bin") and f"{file[:-4]}.idx" in files:
                continue  # read through its index
            yield _input(here / file, prefix + file, is_named=False)


def _input(path: Path, name: str, *, is_named: bool) -> Input:
    try:
        status = path.stat()
        size, changed = (0 if path.is_dir() else status.st_size), status.st_mtime_ns
        content = path.with_suffix(".bin")
        if path.suffix == ".idx" and content.exists():
            size += content.stat().st_size
            changed = max(changed, content.stat().st_mtime_ns)
    except OSError:
        return Input(path=path, name=name, is_named=is_named, size=None, changed=0)
    if path.is_dir():
        changed = 0
    return Input(path=path, name=name, is_named=is_named, size=size, changed=changed)


def _reader(one: Input, column: str) -> Reader | None:
    """The reader of a file that is there; None for what is no text and was not asked for."""
    bare = one.path.with_suffix("") if one.path.suffix in PACKED else one.path
    match bare.suffix:
        case ".jsonl" | ".ndjson":
            return read_lines
        case ".json" if holds_records(one.path, column):
            return read_lines
        case ".parquet" | ".pq":
            return read_parquet
        case ".mds":
            return read_mds
        case ".idx" if one.is_named or is_index(one.path) or one.path.with_suffix(".bin").exists():
            return read_megatron
        case ".bin" if one.is_named:
            return _unpaired
    if one.is_named or bare.suffix in SURELY_TEXT or not _has_nul(one.path):
        return read_text
    return None


def _has_nul(path: Path) -> bool:
    try:
        return b"\0" in next(Stream(path).blocks(), b"")[:HEAD_BYTES]
    except (TornError, MissingError):
        return True


def _unpaired(path: Path, name: str, column: str) -> Iterator[Piece]:
    yield lost(
        name,
        f"has no {path.with_suffix('.idx').name} beside it, so it is unknown where its documents "
        f"begin. Put Megatron's index there, or write the ids as Parquet or MDS.",
    )


def _missing(one: Input) -> Trouble:
    return lost(
        one.name,
        f"does not exist and matches nothing, so there is nothing to lint. Write a file, a folder "
        f"or a pattern in quotes, such as 'data/**/*.jsonl'; a relative path from {Path.cwd()}.",
    )


def _empty(one: Input) -> Trouble:
    if not one.is_named:
        return Trouble(
            file=one.name, source=one.name, why="empty", level="passed", at=one.size or 0
        )
    what = "is a folder without files" if one.path.is_dir() else "holds no document"
    return lost(
        one.name,
        f"{what}, so there is nothing to lint. Write a path with {FORMATS}.",
        at=one.size or 0,
    )
