"""Server-sent events: what changed, to everybody who looks, and again after a broken line.

An event's id is where the reader stands: epoch, version, number of events. A browser that comes
back says its last id, and gets the lines that it missed.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from steadytrain.board.glance import glance
from steadytrain.board.library import Library
from steadytrain.board.stories import line
from steadytrain.board.watched import Watched

APART_SECONDS = 0.4
"""Between two messages to one reader."""

ALIVE_SECONDS = 15.0
"""A comment so often keeps proxies from closing the line. Source: the HTML standard's advice."""

MOST_LINES = 200


@dataclass(eq=False, slots=True)
class Reader:
    """Somebody who looks at one run, or at the list of all (None)."""

    run: str | None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    runs: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Hub:
    """Passes the reading thread's news on to the readers."""

    loop: asyncio.AbstractEventLoop | None = None
    readers: set[Reader] = field(default_factory=set)
    is_closed: bool = False

    def tell(self, run: str | None) -> None:
        """A run changed; None: runs came or went. From any thread."""
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._wake, run)

    def close(self) -> None:
        self.is_closed = True
        for one in self.readers:
            one.changed.set()

    def _wake(self, run: str | None) -> None:
        for one in self.readers:
            if one.run is None:
                one.runs.add(run or "")
                one.changed.set()
            elif one.run == run:
                one.changed.set()

    async def news(self, library: Library, run: str, last: str, lang: str) -> AsyncIterator[bytes]:
        """Messages about one run."""
        reader = Reader(run)
        self.readers.add(reader)
        try:
            place = _place(last)
            while not self.is_closed:
                one = library.get(run)
                if one is None:
                    yield _message("gone", {}, "")
                    return
                reader.changed.clear()
                told, place = await asyncio.to_thread(_news, one, place, lang)
                if told is not None and place is not None:
                    yield _message("news", told, ".".join(map(str, place)))
                    await asyncio.sleep(APART_SECONDS)
                async for _ in _until(reader):
                    library.get(run)
                    yield b": alive\n\n"
        finally:
            self.readers.discard(reader)

    async def all_news(self, library: Library) -> AsyncIterator[bytes]:
        """Glances of the runs that changed; the first message has all of them."""
        reader = Reader(None)
        self.readers.add(reader)
        wanted: set[str] | None = None
        count = 0
        try:
            while not self.is_closed:
                reader.changed.clear()
                names = set(library.runs)
                picked = names if wanted is None or "" in wanted else wanted & names
                glances = await asyncio.to_thread(_glances, library, picked)
                count += 1
                told = {"runs": glances, "names": sorted(names), "now": time.time()}
                yield _message("runs", told, str(count))
                await asyncio.sleep(2 * APART_SECONDS)
                async for _ in _until(reader):
                    yield b": alive\n\n"
                wanted, reader.runs = reader.runs, set()
        finally:
            self.readers.discard(reader)


async def _until(reader: Reader) -> AsyncIterator[None]:
    """Yields each time that nothing happened for long, until something did."""
    while True:
        try:
            await asyncio.wait_for(reader.changed.wait(), ALIVE_SECONDS)
            return
        except TimeoutError:
            yield None


def _news(
    one: Watched, place: tuple[int, int, int] | None, lang: str
) -> tuple[dict[str, Any] | None, tuple[int, int, int]]:
    with one.lock:
        now = (one.epoch, one.version, len(one.events))
        if place is not None and place[:2] == now[:2]:
            return None, now
        since = place[2] if place is not None and place[0] == one.epoch else now[2]
        fresh = [
            told
            for number in range(max(since, now[2] - MOST_LINES), now[2])
            if (told := line(number, one.events[number], lang)) is not None
        ]
        told = {
            "glance": glance(one),
            "lines": fresh,
            "epoch": one.epoch,
            "rows": one.track.rows,
            "marks": place is None or place[0] != one.epoch or now[2] != since,
        }
    return told, now


def _glances(library: Library, names: set[str]) -> list[dict[str, Any]]:
    found = [library.runs.get(name) for name in sorted(names)]
    return [glance(one) for one in found if one is not None]


def _place(last: str) -> tuple[int, int, int] | None:
    parts = last.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        return None
    if any(len(part) > 15 for part in parts):
        return None
    epoch, version, events = map(int, parts)
    return epoch, version, events


def _message(kind: str, data: dict[str, Any], name: str) -> bytes:
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    opening = f"id: {name}\n" if name else ""
    return f"{opening}event: {kind}\ndata: {text}\n\n".encode()
