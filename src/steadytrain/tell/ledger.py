"""What was sent, in the run's journal: the writer `tell`. Its lines are read once, at the start."""

import contextlib
import fcntl
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from steadytrain import journal
from steadytrain.acknowledgements import Word
from steadytrain.errors import JournalError, SettingError
from steadytrain.events import AlertAcknowledged, AlertSent
from steadytrain.news import Item, News, Noted

WRITER = "tell"
LOCK = Path("tell") / "lock"


class Ledger:
    """The one place where this process opens a journal; used by all of its threads.

    Attributes:
        past: what earlier lives wrote, oldest first.
        noted: ids of the acknowledgements that are in the journal.

    Raises:
        JournalError: the journal cannot be written, so nobody would know what was sent.
    """

    def __init__(self, home: Path) -> None:
        self.past: list[tuple[AlertSent, float]] = []
        self.noted: set[str] = set()
        for item in News(home, writers=(WRITER,)).poll():
            self._remember(item)
        self._journal = journal.Journal(home, WRITER)
        self._lock = threading.Lock()

    def _remember(self, item: Item) -> None:
        if not isinstance(item, Noted):
            return
        if isinstance(item.event, AlertSent):
            self.past.append((item.event, item.at))
        elif isinstance(item.event, AlertAcknowledged):
            self.noted.add(item.event.id)

    def write(self, event: AlertSent) -> bool:
        """Whether it is on record now: a full disk is no reason to be silent."""
        with self._lock:
            try:
                self._journal.append(event)
            except JournalError as error:
                print(f"steadytrain: {error}", file=sys.stderr, flush=True)
                return False
        return True

    def acknowledge(self, word: Word) -> None:
        """Write down that somebody has seen a thread, once.

        Raises:
            JournalError: it cannot be written; the word's file stays where it is.
        """
        if word.id in self.noted:
            return
        with self._lock:
            self._journal.append(
                AlertAcknowledged(
                    id=word.id, thread=word.seen.thread, who=word.who, words=word.seen.words
                )
            )
        self.noted.add(word.id)

    def close(self) -> None:
        with self._lock:
            self._journal.close()


@contextlib.contextmanager
def held(home: Path) -> Iterator[None]:
    """Keep other tellers out of a home: two would tell everything twice.

    Raises:
        SettingError: there is one already.
    """
    try:
        (home / LOCK).parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(home / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise SettingError(
            f"{home / LOCK} cannot be written ({error.strerror}), and without a record of what "
            "was sent it would be sent again. Use an account that may write into the run's folder"
        ) from error
    try:
        _lock(lock, home)
        yield
    finally:
        os.close(lock)


def _lock(lock: int, home: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise SettingError(
            f"another steadytrain tell runs for {home}, and two would tell everything twice. "
            "Give all channels to one of them"
        ) from error
    except OSError as error:  # Lustre without -o flock knows no locks
        print(f"steadytrain: this home cannot be locked: {error.strerror}", file=sys.stderr)
