"""All runs below the folders that are shown: found, read and followed by one thread."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from steadytrain import journal
from steadytrain.board.watched import Watched
from steadytrain.errors import SettingError
from steadytrain.news import has_journal

DEEPEST = 3
"""Folders below a root in which runs are looked for: runs/demo-DATE/guarded has two."""

MOST_RUNS = 2_000
SCAN_SECONDS = 3.0
LOOK_SECONDS = 0.25
"""Between looks at a run that moves: a step is seen within about half a second."""

IDLE_SECONDS = 2.0
"""Between looks at a run that nobody has open and that wrote nothing for a minute."""

SLICE_SECONDS = 0.2
"""One run is read for so long before the next one has its turn."""

_NOT_RUNS = frozenset(
    {journal.FOLDER, "checkpoints", "incidents", "provenance", "logs", "stacks", "progress"}
    | {"control", "panels", ".git", "__pycache__", "node_modules"}
)


@dataclass(slots=True)
class Library:
    """Runs by id.

    Args:
        roots: folders of runs, or of one run each.
        tell: called from the reading thread with the id of each run that changed, and with None
            when runs came or went.
    """

    roots: Sequence[Path]
    tell: Callable[[str | None], None] = lambda _: None
    runs: dict[str, Watched] = field(default_factory=dict)
    wanted: dict[str, float] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self.roots = [Path(os.path.abspath(one)) for one in self.roots]
        for root in self.roots:
            if not root.is_dir():
                raise SettingError(
                    f"{root} is no folder, so there are no runs to show. Name a folder of runs, or "
                    "the home of one: steadytrain board runs"
                )

    def start(self) -> None:
        self._thread = threading.Thread(target=self._follow, daemon=True, name="board-reader")
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)

    def get(self, name: str) -> Watched | None:
        """A run that somebody looks at: it is read first, and followed closely."""
        found = self.runs.get(name)
        if found is not None:
            self.wanted[name] = time.monotonic()
        return found

    def scan(self) -> bool:
        """Look for runs; whether any came or went."""
        found = dict(self._homes())
        gone = [name for name in self.runs if name not in found]
        fresh = [name for name in found if name not in self.runs]
        for name in gone:
            del self.runs[name]
        for name in fresh:
            self.runs[name] = Watched(id=name, home=found[name])
        return bool(gone or fresh)

    def read_all(self) -> None:
        """Scan, and read every run whole; for tests and measurements."""
        self.scan()
        for one in self.runs.values():
            while not one.is_read and one.problem is None:
                one.catch_up(seconds=60.0)

    def _homes(self) -> list[tuple[str, Path]]:
        found: list[tuple[str, Path]] = []
        several = len(self.roots) > 1
        for root in self.roots:
            if has_journal(root):
                found.append((root.name, root))
                continue
            for home in _below(root, DEEPEST):
                name = home.relative_to(root).as_posix()
                found.append((f"{root.name}/{name}" if several else name, home))
        return found[:MOST_RUNS]

    def _follow(self) -> None:
        scanned = 0.0
        while not self._stop.is_set():
            begun = time.monotonic()
            if begun - scanned > SCAN_SECONDS or not self.runs:
                scanned = begun
                if self.scan():
                    self.tell(None)
            is_behind = False
            for one in self._in_turn(begun):
                if one.catch_up(seconds=SLICE_SECONDS):
                    self.tell(one.id)
                is_behind |= not one.is_read and one.problem is None
                if self._stop.is_set():
                    return
            if not is_behind:
                self._stop.wait(LOOK_SECONDS)

    def _in_turn(self, now: float) -> list[Watched]:
        """Runs to look at now: those somebody has open, then the ones that changed last."""
        found = list(self.runs.values())
        waiting = [one for one in found if not one.is_read]
        open_now = [one for one in found if now - self.wanted.get(one.id, -1e9) < 60.0]
        unread_open = [one for one in open_now if not one.is_read]
        if unread_open:
            return unread_open
        due = [
            one
            for one in found
            if one.is_read and (one in open_now or now - one.looked_at > _patience(one))
        ]
        newest = sorted(waiting, key=_changed, reverse=True)[:1]
        return due + newest


def _patience(one: Watched) -> float:
    is_still = time.time() - one.news.newest > 60.0 or one.standing.has_ended
    return IDLE_SECONDS if is_still else 0.0


def _changed(one: Watched) -> float:
    try:
        return max(entry.stat().st_mtime for entry in os.scandir(one.home / journal.FOLDER))
    except (OSError, ValueError):
        return 0.0


def _below(folder: Path, depth: int) -> list[Path]:
    """Homes of runs, not through links: they could lead out of the folder."""
    found: list[Path] = []
    try:
        entries = sorted(os.scandir(folder), key=lambda one: one.name)
    except OSError:
        return found
    for entry in entries:
        if entry.name in _NOT_RUNS or not entry.is_dir(follow_symlinks=False):
            continue
        path = Path(entry.path)
        if has_journal(path):
            found.append(path)
        elif depth > 1:
            found += _below(path, depth - 1)
    return found
