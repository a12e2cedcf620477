"""Within a life of the training process: which part of the time each update's seconds belong to."""

import statistics
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Part = Literal[
    "productive", "repeated", "held", "checkpoints", "panel", "examination", "stalls",
    "detection", "startup", "waits", "idle",
]  # fmt: skip
PARTS: tuple[Part, ...] = (
    "productive", "repeated", "held", "checkpoints", "panel", "examination", "stalls",
    "detection", "startup", "waits", "idle",
)  # fmt: skip
"""productive: updates that landed on the surviving branch; repeated: updates that a restart or a
rollback undid; held: updates that the gate held back; checkpoints: the loop stood still for them;
panel: looks at it; examination: evidence, trials, rollbacks; stalls: nothing on record says why an
update took so long; detection: from the last sign of a life to the word that it died or hung;
startup: from there to the first update; waits: pauses before a restart; idle: there was no process,
or nobody knows."""

BLOCK, LEAST = 256, 16
"""Updates whose median is the usual time of one; of fewer than LEAST, that of the block before."""

HELD_UP = 2.0
"""An update that takes longer than this times the usual was held up. Source: guess."""

MICRO = 1_000_000
Spent = dict[Part, int]


@dataclass(slots=True)
class Books:
    """Microseconds by part, of what is settled.

    Attributes:
        told: durations in lines since the last settling, `carried` from the one before: they are
            part of the time of an update near them, perhaps of one that is not on record yet.
        unexplained: stalls of the last block, which the next lines may still explain.
        usual: time of an update. [microseconds]
        is_first: the next update is the first of its process.
    """

    spent: Spent = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    told: Spent = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    carried: Spent = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    unexplained: int = 0
    usual: int | None = None
    is_first: bool = False

    def copied(self) -> "Books":
        return Books(
            spent=dict(self.spent),
            told=dict(self.told),
            carried=dict(self.carried),
            unexplained=self.unexplained,
            usual=self.usual,
            is_first=self.is_first,
        )

    def move(self, micros: int, source: Part, part: Part) -> int:
        """Give up to so much of one part to another; how much it was."""
        found = min(micros, self.spent[source])
        self.spent[source] -= found
        self.spent[part] += found
        return found

    def settle(self, raw: Sequence[int], landed: Sequence[int], *, tail: int) -> "array[int]":
        """Divide up the time of a block, and of a life's end behind it; what its updates keep."""
        others = raw[1:] if self.is_first else raw  # a first one compiles and warms up
        if others and (len(others) >= LEAST or self.usual is None):
            self.usual = round(statistics.median(others))
        usual = self.usual or 0
        kept = array("q", [one if one <= HELD_UP * usual else usual for one in raw])
        over = raw[0] - kept[0] if raw and self.is_first else 0
        self.is_first = self.is_first and not raw
        stalled = sum(raw) - sum(kept) - over + tail
        self.spent["startup"] += over
        self.spent["stalls"] += stalled
        self._explain(stalled, over)
        self._take(kept)
        for micros, has_landed in zip(kept, landed, strict=True):
            self.spent["productive" if has_landed else "held"] += micros
        return kept

    def _explain(self, stalled: int, over: int) -> None:
        """What lines tell is taken from what took too long: here, at the start, a block before."""
        rooms: tuple[tuple[Part, int], ...] = (
            ("stalls", stalled + self.unexplained),
            ("startup", over),
        )
        left = 0
        for source, room in rooms:
            for owed in (self.carried, self.told):
                for part in PARTS:
                    moved = self.move(min(room, owed[part]), source, part)
                    owed[part] -= moved
                    room -= moved
            left = room if source == "stalls" else left
        self.unexplained = min(left, stalled)

    def _take(self, kept: "array[int]") -> None:
        """What was told a block ago and is in no long update is in the usual ones, evenly."""
        owed, whole = sum(self.carried.values()), sum(kept)
        if owed and whole:
            share = min(1.0, owed / whole)
            for row, micros in enumerate(kept):
                kept[row] = micros - int(micros * share)
            taken = whole - sum(kept)
            for part in PARTS:
                mine = min(taken, self.carried[part])
                self.spent[part] += mine
                taken -= mine
            self.spent["stalls"] += taken
        if whole:
            self.carried, self.told = self.told, dict.fromkeys(PARTS, 0)


def whole(seconds: float) -> int:
    """Microseconds, none where it is no number or less than nothing."""
    return round(seconds * MICRO) if 0 < seconds < 1e12 else 0
