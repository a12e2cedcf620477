"""How a person says "I have seen it": a file each, below HOME/tell, read by `steadytrain tell`.

    HOME/tell/seen/<id>.json         a word that is not in the journal yet
    HOME/tell/seen/taken/<id>.json   one that is

As in `control.py`: whole files only, whoever may write into the folder may say so, and the file's
owner is who said it. Apart from the control folder, since the run itself need not hear of it.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from steadytrain.control import account_of, drop, read_plain
from steadytrain.errors import SettingError

FOLDER = Path("tell") / "seen"
TAKEN = "taken"

MOST_BYTES = 4096


class Seen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The content of one file."""

    thread: str
    name: str = ""
    words: str = ""

    def __post_init__(self) -> None:
        for one in (self.thread, self.name, self.words):
            # They are printed on terminals, where an escape sequence could do anything.
            if not one.isprintable():
                raise ValueError(f"{one!r} holds characters that cannot be printed")


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its id and who said it."""

    id: str
    who: str
    seen: Seen


def acknowledge(home: Path, seen: Seen, *, clock: Callable[[], int] = time.time_ns) -> str:
    """Say that a thread was seen; returns the word's id.

    Raises:
        SettingError: this user may not write there.
    """
    folder = Path(home) / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return drop(folder, msgspec.json.encode(seen), clock=clock)
    except OSError as error:
        raise SettingError(
            f"{folder} cannot be written ({error.strerror}), so nobody would hear of it. "
            "Use an account that may write there."
        ) from error


def waiting(home: Path) -> list[Word]:
    """Words that are not in the journal yet, oldest first; what is no word is passed over."""
    folder = Path(home) / FOLDER
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".json"))
    except OSError:
        return []
    found = []
    for name in names:
        if name[0] == ".":
            continue
        try:
            body, owner = read_plain(folder / name)
            seen = msgspec.json.decode(body[:MOST_BYTES], type=Seen)
        except (OSError, SettingError, msgspec.DecodeError, ValueError):
            continue
        who = account_of(owner)
        who = f"{who} as {seen.name}" if seen.name else who
        found.append(Word(name.removesuffix(".json"), who, seen))
    return found


def take(home: Path, name: str) -> None:
    """Move a word away that is in the journal."""
    folder = Path(home) / FOLDER
    (folder / TAKEN).mkdir(exist_ok=True)
    os.replace(folder / f"{name}.json", folder / TAKEN / f"{name}.json")
