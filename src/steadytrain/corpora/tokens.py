"""Token ids back to text: bytes, or a tokenizer of Hugging Face."""

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from steadytrain.errors import SettingError

BYTES = "bytes"
_WIDTHS = ("<i8", "<i4", "<u2", "u1")
"""Of ids in a column of plain bytes: the widest under which each is in the vocabulary. Text in
ids of two bytes is never ids of eight: six zero bytes of eight do not happen."""


class Tokenizer(Protocol):
    """What turns ids into text. `vocabulary` counts the ids that mean something."""

    @property
    def vocabulary(self) -> int: ...
    def decode(self, ids: NDArray[np.integer]) -> str: ...


@dataclass(frozen=True, slots=True)
class ByteTokenizer:
    """Each id is a byte of UTF-8; ids from 256 up are marks and are left out."""

    vocabulary: int = 256

    def decode(self, ids: NDArray[np.integer]) -> str:
        return ids[ids < 256].astype(np.uint8).tobytes().decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class HuggingFace:
    """A tokenizer.json; its special tokens are no text, ids that it does not know are U+FFFD."""

    tokenizer: Any
    vocabulary: int

    def decode(self, ids: NDArray[np.integer]) -> str:
        known = (ids >= 0) & (ids < self.vocabulary)
        if known.all():
            return str(self.tokenizer.decode(ids.tolist(), skip_special_tokens=True))
        edges = np.flatnonzero(~known)
        runs = np.split(ids, np.sort(np.concatenate([edges, edges + 1])))
        return "".join(
            self.decode(run) if len(run) and 0 <= run[0] < self.vocabulary else "\ufffd" * len(run)
            for run in runs
        )


def load_tokenizer(where: str) -> Tokenizer:
    """The tokenizer of a corpus.

    Args:
        where: a tokenizer.json, a folder that holds one, or the word "bytes".

    Raises:
        SettingError: it is not there, is no tokenizer, or `tokenizers` is not installed.
    """
    if where == BYTES:
        return ByteTokenizer()
    path = Path(where).expanduser()
    path = path / "tokenizer.json" if path.is_dir() else path
    if not path.is_file():
        raise SettingError(
            f"--tokenizer {where}: there is no {path}, so token ids cannot be read as text. Write "
            f"the tokenizer.json of Hugging Face, the folder that holds it, or 'bytes'."
        )
    try:
        library = importlib.import_module("tokenizers")
    except ModuleNotFoundError as e:
        raise SettingError(
            f"--tokenizer {where} is of Hugging Face and the package tokenizers is not installed, "
            f"so token ids cannot be read as text. Write: pip install tokenizers"
        ) from e
    written = path.read_text(encoding="utf-8", errors="replace")
    try:
        has_model = "model" in json.loads(written)
    except (ValueError, TypeError):
        has_model = False
    if not has_model:  # the library would raise a bare Exception
        raise SettingError(
            f"{path} is no tokenizer: it is no JSON object with a model, so token ids cannot be "
            f"read as text. Write the tokenizer.json that the corpus was made with."
        )
    tokenizer = library.Tokenizer.from_str(written)
    return HuggingFace(tokenizer, max(tokenizer.get_vocab().values(), default=-1) + 1)


def ids_of(raw: bytes, vocabulary: int) -> NDArray[np.integer] | None:
    """Ids in a column of plain bytes, whose width nobody wrote down; None if no width fits."""
    for width in _WIDTHS:
        if len(raw) % np.dtype(width).itemsize == 0:
            ids = np.frombuffer(raw, width)
            if not len(ids) or (ids.min() >= 0 and ids.max() < vocabulary):
                return ids
    return None
