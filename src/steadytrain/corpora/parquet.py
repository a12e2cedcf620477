"""Parquet files, a column of text or of token ids, one batch of rows in memory.

Needs pyarrow. Texts are taken as bytes: Parquet promises UTF-8 and does not check it.
"""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from steadytrain.corpora.documents import (
    Document,
    Piece,
    decoded,
    domain_of,
    id_of,
    lost,
    unopened,
)

BATCH_ROWS = 256
TOKENS = ("tokens", "input_ids", "token_ids")
"""Where ids are looked for when there is no column of text. Source: MosaicML's and Hugging Face's
examples."""


def read_parquet(path: Path, name: str, column: str = "text") -> Iterator[Piece]:
    """A document a row, numbered from 0; columns `id` and `domain` are honoured."""
    try:
        arrow = importlib.import_module("pyarrow")
        parquet = importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError:
        yield lost(
            name,
            "is a Parquet file and pyarrow is not installed, so it was not read. "
            "Write: pip install pyarrow",
        )
        return
    row = 0
    try:
        size = path.stat().st_size
        with parquet.ParquetFile(path, memory_map=True, pre_buffer=False) as table:
            found = _column(arrow, table.schema_arrow, column)
            if found is None:
                yield lost(name, _without_text(arrow, table.schema_arrow, column), at=size)
                return
            names = table.schema_arrow.names
            columns = [found, *(one for one in ("id", "domain") if one in names and one != found)]
            num_rows = max(table.metadata.num_rows, 1)
            for batch in table.iter_batches(batch_size=BATCH_ROWS, columns=columns):
                for piece in _rows(arrow, batch, name, found, row, size / num_rows):
                    yield piece
                    row += isinstance(piece, Document)
    except (OSError, ValueError, arrow.ArrowException) as e:
        if isinstance(e, PermissionError):
            yield unopened(name, e)
            return
        yield lost(
            name,
            f"is no readable Parquet file after row {row - 1} ({e}), so the rest was not linted. "
            f"Fetch or write it again."
            if row
            else f"is no readable Parquet file ({e}), so it was not linted. "
            f"Fetch or write it again, or convert it to .jsonl.",
        )


def _column(arrow: Any, schema: Any, column: str) -> str | None:
    """The column to read: the one asked for, or, in place of "text", one that holds ids."""
    wanted = (column, *TOKENS) if column == "text" else (column,)
    for one in wanted:
        if one in schema.names and (
            _is_text(arrow, schema.field(one).type) or _is_ids(arrow, schema.field(one).type)
        ):
            return one
    return None


def _is_text(arrow: Any, kind: Any) -> bool:
    types = arrow.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or kind == arrow.string_view()
        or kind == arrow.binary_view()
    )


def _is_ids(arrow: Any, kind: Any) -> bool:
    types = arrow.types
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(is_list and types.is_integer(kind.value_type))


def _rows(
    arrow: Any, batch: Any, name: str, column: str, first: int, stride: float
) -> Iterator[Piece]:
    texts = batch.column(column)
    ids, domains = (
        batch.column(one).to_pylist() if one in batch.schema.names else [None] * batch.num_rows
        for one in ("id", "domain")
    )
    is_text = _is_text(arrow, texts.type)
    if is_text:
        texts = texts.cast(arrow.large_binary())
    for index, value in enumerate(texts):
        number = first + index
        at = int((number + 1) * stride)
        text, remark, tokens = None, None, None
        if is_text:
            text, remark = decoded(value.as_py() or b"", name, number, at)
        else:
            tokens = np.asarray(value.as_py() or [], np.int64)
        if remark is not None:
            yield remark
        yield Document(
            file=name,
            number=number,
            id=id_of(ids[index], number),
            domain=domain_of(domains[index]),
            text=text,
            tokens=tokens,
            at=at,
        )


def _without_text(arrow: Any, schema: Any, column: str) -> str:
    texts = [field.name for field in schema if _is_text(arrow, field.type)]
    if column in schema.names:
        said = f"has a column {column!r} of {schema.field(column).type}, which is no text"
    else:
        said = f"has no column {column!r} but {', '.join(schema.names) or 'none at all'}"
    instead = f"--column {texts[0]}" if texts else "--column NAME with a column of text"
    return f"{said}, so it was not linted. Write {instead}."
