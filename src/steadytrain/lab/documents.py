"""Where the lab's text comes from: files, folders, data sets, and text that needs no network.

Three domains need no file: the Python sources on this machine ("code"), their documentation ("en")
and the handbook that comes with steadytrain ("zh"). Domain names may be hierarchical, as in
"zh/knowledge" and "code/python"; the first part decides which default text is meant.
"""

import ast
import importlib
import os
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from steadytrain.errors import FeedError, SettingError

CODE_BYTES, EN_BYTES = 3_000_000, 2_000_000  # the most of a default domain; guess: loads in seconds
HUB_BYTES = 16_000_000  # the most of a streamed data set; guess: hours of training on two cores
NOT_LIBRARY = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
NOT_WRITTEN = {"encodings", "pydoc_data"}  # made by a program, and the topics, read as "en"


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A text and its source: a file, or `file#part` where it is not the bytes of the file."""

    source: str
    text: bytes


def read_domain(name: str, where: str | None) -> tuple[Document, ...]:
    """The documents of a domain.

    Args:
        name: the domain; its first part finds the default text when `where` is None.
        where: a file or a folder (text, .jsonl with a field "text", .parquet with a column "text"),
            `hf:NAME[:config]`, or None for the text that needs no file.

    Raises:
        SettingError: the name is malformed, or has no default text.
        FeedError: nothing there, or not text.
    """
    if not all(name.split("/")):
        raise SettingError(
            f"domain name {name!r} has an empty part; the hierarchy by '/' could not be read from "
            f"it. Write a name such as 'zh' or 'zh/knowledge'."
        )
    if where is None:
        found = _default(name)
    elif where.startswith("hf:"):
        found = _read_hub(where)
    else:
        found = _read_path(where)
    documents = tuple(document for document in found if document.text)
    if not documents:
        raise FeedError(
            f"{where or name} holds no text; domain {name!r} would have nothing to train on. "
            f"Write a path with .txt, .md, .py, .jsonl or .parquet files that are not empty."
        )
    return documents


def _default(name: str) -> Iterable[Document]:
    match name.split("/")[0]:
        case "code":
            return _first(CODE_BYTES, _library(parity=0))
        case "en":
            return _first(EN_BYTES, _documentation())
        case "zh":
            return _handbook()
        case _:
            raise SettingError(
                f"domain {name!r} has no text of its own; only zh, en and code come with "
                f"steadytrain. Write the file, the folder or the hf:NAME to read it from."
            )


def _library(*, parity: int) -> Iterator[Document]:
    """Every other source file of the standard library, in the order of their names.

    Half (parity 0) is read as code, half gives its docstrings to "en": a docstring trained on as
    code would be known to the panel of "en".
    """
    root = Path(sysconfig.get_path("stdlib"))
    written = (
        name
        for name in _walk(root, skip=NOT_LIBRARY | NOT_WRITTEN)
        if name.endswith(".py") and not name.startswith("_sysconfigdata")  # this machine's paths
    )
    for index, name in enumerate(written):
        if index % 2 == parity:
            yield Document(source=f"python/lib/{name}", text=(root / name).read_bytes())


def _documentation() -> Iterator[Document]:
    """Python's help topics, then the docstrings of half the standard library."""
    try:
        topics: Mapping[str, str] = importlib.import_module("pydoc_data.topics").topics
    except ModuleNotFoundError:  # some distributions leave it out
        topics = {}
    for topic, text in sorted(topics.items()):
        yield Document(source=f"python/lib/pydoc_data/topics.py#{topic}", text=text.encode())
    for module in _library(parity=1):
        for name, docstring in _docstrings(ast.parse(module.text)):
            yield Document(source=f"{module.source}#{name}", text=docstring.encode())


def _docstrings(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Docstrings of a module, its classes and its functions, outside in, by dotted name."""
    found: list[tuple[str, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]
    found = [("", module)]
    for name, node in found:  # grows while it is read
        if docstring := ast.get_docstring(node):
            yield name or "module", docstring
        for inner in node.body:
            if isinstance(inner, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found.append((f"{name}.{inner.name}" if name else inner.name, inner))


def _handbook() -> Iterator[Document]:
    folder = resources.files("steadytrain.lab") / "handbook"
    pages = sorted(folder.iterdir(), key=lambda page: page.name) if folder.is_dir() else []
    for page in pages:
        if page.name.endswith(".md"):
            source = f"steadytrain/lab/handbook/{page.name}"
            yield Document(source=source, text=page.read_bytes())


def _first(most: int, documents: Iterable[Document]) -> Iterator[Document]:
    """Documents up to `most` bytes; the last one is cut, between characters."""
    left = most
    for document in documents:
        if len(document.text) >= left:
            text = document.text[:left].decode("utf-8", "ignore").encode()
            yield Document(source=document.source, text=text)
            return
        left -= len(document.text)
        yield document


def _walk(folder: Path, *, skip: set[str]) -> list[str]:
    """Names of the files in a folder and below, sorted; neither hidden ones nor folders to skip."""
    names: list[str] = []
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in skip and name[0] != "."]
        inner = Path(root).relative_to(folder)
        names += ((inner / name).as_posix() for name in files if name[0] != ".")
    return sorted(names)


def _read_path(where: str) -> Iterator[Document]:
    path = Path(where).expanduser()
    if not path.exists():
        raise FeedError(
            f"{where} does not exist; there is no text to read from it. Write a file, a folder "
            f"or hf:NAME, and a relative path from {Path.cwd()}."
        )
    if path.is_dir():
        for name in _walk(path, skip={"__pycache__"}):
            yield from _read_file(path / name, f"{where.rstrip('/')}/{name}")
    else:
        yield from _read_file(path, where)


def _read_file(path: Path, source: str) -> Iterator[Document]:
    if path.suffix == ".parquet":
        return _read_parquet(path, source)
    try:
        content = path.read_bytes()
    except OSError as e:
        raise FeedError(
            f"{source} cannot be read ({e.strerror}); the domain would silently lack it. "
            f"Write a path that this user may read."
        ) from e
    if path.suffix in {".jsonl", ".ndjson"}:
        return _read_lines(content, source)
    return _read_text(content, source)


def _read_text(content: bytes, source: str) -> Iterator[Document]:
    fault, offset = "a NUL byte", content.find(0)
    try:
        content.decode()
    except UnicodeDecodeError as e:
        if offset < 0 or e.start < offset:
            fault, offset = f"byte 0x{content[e.start]:02x}, which is not UTF-8,", e.start
    if offset >= 0:
        raise FeedError(
            f"{source} has {fault} at offset {offset}; a model would learn noise from a file "
            f"that is not text. Leave the file out, or convert Chinese text with "
            f"`iconv -f GB18030 -t UTF-8`."
        )
    yield Document(source=source, text=content)


def _read_lines(content: bytes, source: str) -> Iterator[Document]:
    decoder, begin = msgspec.json.Decoder(_Line), 0
    for index, line in enumerate(content.split(b"\n")):
        if line.strip():
            try:
                found = decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as e:
                raise FeedError(
                    f"{source} line {index + 1}, at offset {begin}, is no JSON object with a "
                    f"text: {e}. Its document would be lost. Write one "
                    f'{{"text": "..."}} on each line.'
                ) from e
            row = {"domain": found.domain, "id": found.id, "source": found.source}
            yield _document(source, row, text=found.text, index=index)
        begin += len(line) + 1


def _read_parquet(path: Path, source: str) -> Iterator[Document]:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError as e:
        raise FeedError(
            f"{source} is a Parquet file and pyarrow is not installed; it cannot be read. "
            f"Write `pip install pyarrow`, or convert the file to .jsonl."
        ) from e
    try:
        table = parquet.ParquetFile(path)
        columns = [c for c in ("text", "domain", "id", "source") if c in table.schema_arrow.names]
        if "text" not in columns:
            raise FeedError(
                f"{source} has no column 'text' but {', '.join(table.schema_arrow.names)}; it is "
                f"unknown what to train on. Rename the column that holds the text."
            )
        rows = (row for batch in table.iter_batches(columns=columns) for row in batch.to_pylist())
        for index, row in enumerate(rows):
            yield _document(source, row, text=row["text"] or "", index=index)
    except (OSError, ValueError) as e:  # pyarrow's own errors are one or the other
        raise FeedError(
            f"{source} is no readable Parquet file ({e}); its text would be lost. "
            f"Write the file again, or convert it to .jsonl."
        ) from e


def _read_hub(where: str) -> Iterator[Document]:
    return _first(HUB_BYTES, _stream_hub(where))


def _stream_hub(where: str) -> Iterator[Document]:
    try:
        datasets = importlib.import_module("datasets")
    except ModuleNotFoundError as e:
        raise FeedError(
            f"{where} is a data set of Hugging Face and `datasets` is not installed; it cannot be "
            f"streamed. Write `pip install datasets`, or a path on this machine."
        ) from e
    name, _, config = where.removeprefix("hf:").partition(":")
    try:
        rows = datasets.load_dataset(name, config or None, split="train", streaming=True)
        for index, row in enumerate(rows):
            if not isinstance(row.get("text"), str):
                raise FeedError(
                    f"{where} has no column 'text' but {', '.join(row)}; it is unknown what to "
                    f"train on. Write a data set with one, or save it as .jsonl with one."
                )
            yield _document(where, row, text=row["text"], index=index)
    except (OSError, ValueError) as e:  # the library's network and naming errors are one of these
        raise FeedError(
            f"{where} cannot be streamed ({e}); the domain would be empty. Write "
            f"hf:NAME or hf:NAME:CONFIG as on huggingface.co, or a path on this machine."
        ) from e


def _document(file: str, row: Mapping[str, Any], *, text: str, index: int) -> Document:
    """A document out of a table; the row's own names, or its number, tell where in the file."""
    names = [str(row[key]) for key in ("domain", "id", "source") if row.get(key) is not None]
    part = "|".join(names) or f"row {index + 1}"
    return Document(source=f"{file}#{part}", text=text.encode("utf-8", "replace"))


class _Line(msgspec.Struct):
    """What is read of a JSON line; other fields are skipped without being built."""

    text: str
    domain: Any = None
    id: Any = None
    source: Any = None
