"""The control folder: how a person's word reaches a run that is under way.

    HOME/control/<id>.json           a word that the run has not read yet
    HOME/control/taken/<id>.json     one that stands in the journal
    HOME/control/refused/<id>.json   one that will not be obeyed; <id>.txt says why

One file per word, written beside its place and renamed into it, so that a reader meets whole words
only. Names begin with the time, so that words are read in the order in which they were said. The
reader moves a file away after the word is in the journal; a crash between the two leaves a file
whose id the journal knows already, and it is not obeyed twice.

Whoever may write into the folder may give orders: that is the whole of the permission, and the
file's owner is who said it. A name that a person gives is noted beside, never instead.

Why the folder is listed and not watched by its time of change: two words within one tick of a file
system's clock would look like one, and a client of NFS may show an old time for a minute. Opening a
folder makes NFS ask the server.
"""

import errno
import os
import pwd
import re
import secrets
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from steadytrain.durable import sync_folder
from steadytrain.errors import SettingError

Verb = Literal["accept", "refuse", "order", "observe", "ask", "act"]
MODES = ("observe", "ask", "act")

FOLDER = "control"
TAKEN = "taken"
REFUSED = "refused"

MOST_BYTES = 64 * 2**10
"""A word is a few lines; more than this was not written for us. Source: guess."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_NOT_PLAIN = (
    "it is no plain file with one name, so its owner need not be who wrote it. "
    "Write it with: steadytrain remedy"
)


class Word(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """What a person asks of a run; the content of one file.

    Attributes:
        verb: accept or refuse a proposal, order a plan, or set the judge's mode from here on.
        remedy, incident: which proposal; which incident an order is for, None for none.
        plan: what is ordered, in the words of `plans.py`.
        words: why, in the person's own words.
        name: how the person wants to be called in the journal.

    >>> Word(verb="accept", remedy="remedy-1").words
    ''
    """

    verb: Verb
    remedy: str | None = None
    incident: str | None = None
    plan: str = ""
    words: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        if self.verb in ("accept", "refuse") and not self.remedy:
            raise ValueError(f'{self.verb} without a proposal; write "remedy": its id')
        if (self.verb == "order") != bool(self.plan.strip()):
            raise ValueError('"plan" belongs to the verb order, and order needs one')
        for what in (self.remedy, self.incident, self.words, self.name):
            # They are printed on terminals, where an escape sequence could do anything.
            if what is not None and not what.isprintable():
                raise ValueError(f"{what!r} holds characters that cannot be printed")


@dataclass(frozen=True, kw_only=True, slots=True)
class Letter:
    """A word with its id and who said it: the account that owns the file, the name given."""

    id: str
    who: str
    word: Word


@dataclass(frozen=True, kw_only=True, slots=True)
class Fate:
    """What became of a word: it waits, was taken into the journal, or refused, and why."""

    state: Literal["waits", "taken", "refused", "gone"]
    why: str = ""


def send(home: Path, word: Word, *, clock: Callable[[], int] = time.time_ns) -> str:
    """Put a word where the run will read it; returns its id. Safe on a disk that others share.

    Raises:
        SettingError: this user may not write there.
    """
    folder = Path(home) / FOLDER
    try:
        folder.mkdir(exist_ok=True)
        return drop(folder, msgspec.json.encode(word), clock=clock)
    except OSError as error:
        raise SettingError(
            f"{folder} cannot be written ({error.strerror}), so the run would not hear of it. "
            "Only accounts that may write there give orders: use such an account, or let its owner "
            "open the folder with chmod."
        ) from error


def drop(folder: Path, body: bytes, *, clock: Callable[[], int] = time.time_ns) -> str:
    """Put a letter of one line into a folder, whole and readable by everybody; returns its id.

    Raises:
        OSError: it cannot be written there.
    """
    now = clock()
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now // 10**9))
    name = f"{stamp}.{now % 10**9:09d}-{secrets.token_hex(3)}"
    partial = folder / f".{name}.partial"
    file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.fchmod(file, 0o644)  # whatever the umask: the run may belong to another account
        os.write(file, body + b"\n")
        os.fsync(file)
    finally:
        os.close(file)
    os.rename(partial, folder / f"{name}.json")
    sync_folder(folder)
    return name


def fate(home: Path, name: str) -> Fate:
    """What became of the word of this id."""
    folder = Path(home) / FOLDER
    if (folder / f"{name}.json").exists():
        return Fate(state="waits")
    if (folder / TAKEN / f"{name}.json").exists():
        return Fate(state="taken")
    try:
        why = (folder / REFUSED / f"{name}.txt").read_text(encoding="utf-8")
    except OSError:
        return Fate(state="gone")
    return Fate(state="refused", why=why.strip())


def refusals(home: Path) -> list[tuple[str, str]]:
    """(id, why) of every word that was refused, oldest first."""
    found = sorted((Path(home) / FOLDER / REFUSED).glob("[!.]*.txt"))
    return [(path.stem, path.read_text(encoding="utf-8").strip()) for path in found]


class Inbox:
    """The reading end; a run has one, on rank 0. What cannot be read or moved is an OSError."""

    def __init__(self, home: Path) -> None:
        self._folder = Path(home) / FOLDER

    def prepare(self) -> None:
        """Make the folders, so that their owner can open them to others before anybody writes."""
        for folder in (self._folder, self._folder / TAKEN, self._folder / REFUSED):
            folder.mkdir(parents=True, exist_ok=True)

    def waiting(self) -> list[str]:
        """Ids of the words that wait, oldest first."""
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return []
        ids = [name[:-5] for name in names if name.endswith(".json") and name[0] != "."]
        return sorted(ids) if ids else ids

    def stamp(self, name: str) -> tuple[int, int]:
        """Size and time of a word's file: a file that somebody still writes changes them."""
        found = os.lstat(self._path(name))
        return found.st_size, found.st_mtime_ns

    def open(self, name: str) -> Letter:
        """Read a word.

        Raises:
            SettingError: it is none; the message says why.
        """
        if not _ID.fullmatch(name):
            raise SettingError(
                f"{name!r} cannot be the id of a word. Name the file with letters, digits, '.', "
                "'_', '+' and '-', at most 100 of them."
            )
        body, owner = read_plain(self._path(name))
        word = _decode(body)
        who = account_of(owner)
        return Letter(id=name, who=f"{who} as {word.name}" if word.name else who, word=word)

    def was_taken(self, name: str) -> bool:
        """Whether another file of this id was taken before."""
        return (self._folder / TAKEN / f"{name}.json").exists()

    def take(self, name: str) -> None:
        """Move a word away that is in the journal."""
        self._move(name, TAKEN)

    def refuse(self, name: str, why: str) -> None:
        """Move a word away that will not be obeyed, and leave the reason beside it."""
        self._move(name, REFUSED)
        reason = self._folder / REFUSED / f"{name}.txt"
        partial = reason.with_name(f".{reason.name}.partial")
        partial.write_text(f"{why}\n", encoding="utf-8")
        os.replace(partial, reason)

    def _move(self, name: str, to: str) -> None:
        folder = self._folder / to
        folder.mkdir(exist_ok=True)
        os.rename(self._path(name), folder / f"{name}.json")

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"


def read_plain(path: Path) -> tuple[bytes, int]:
    """A word's bytes and the number of the account that owns them."""
    try:
        # Never through a link, which has another owner; never waiting for a pipe's other end.
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise SettingError(_NOT_PLAIN) from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise SettingError(
                "the run may not read it. Let the file be read: chmod a+r"
            ) from error
        raise
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise SettingError(_NOT_PLAIN)
        return os.read(file, MOST_BYTES + 1), found.st_uid
    finally:
        os.close(file)


def _decode(body: bytes) -> Word:
    if len(body) > MOST_BYTES:
        raise SettingError(
            f"it has more than {MOST_BYTES} bytes, and a word is a few lines. "
            "Write it with: steadytrain remedy"
        )
    try:
        return msgspec.json.decode(body, type=Word)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingError(
            f"it is no word of a person ({error}). Write it with: steadytrain remedy"
        ) from error


def account_of(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"uid {number}"
