"""What a report is made of, whatever it is written as: plain text in a few kinds of block."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Tone = Literal["plain", "good", "bad"]


@dataclass(frozen=True, slots=True)
class Heading:
    """`level` 1 to 3; `anchor`: others may point here."""

    level: int
    text: str
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph; "verdict" is the first sentence, "small" an aside, "note" a warning."""

    text: str
    kind: Literal["plain", "verdict", "small", "note"] = "plain"


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and what they are."""

    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Cell:
    """One place of a table: a line of text, or several; `anchor`: of a heading to lead to."""

    text: str
    tone: Tone = "plain"
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """The first row holds the heads."""

    rows: Sequence[Sequence[Cell | str]]
    has_numbers: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """A line of a list, with lines below it."""

    text: str
    tone: Tone = "plain"
    more: Sequence["Item"] = ()


@dataclass(frozen=True, slots=True)
class Items:
    """Lines in an order that matters if `is_ordered`."""

    items: Sequence[Item]
    is_ordered: bool = True


@dataclass(frozen=True, slots=True)
class Pictures:
    """Drawings side by side; `instead`: the same as numbers, where none can be shown."""

    pictures: Sequence[str]
    instead: Table | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """Parts of a whole: (words, class of its colour, share)."""

    title: str
    parts: Sequence[tuple[str, str, float]]


@dataclass(frozen=True, slots=True)
class Quote:
    """Text that is not ours, as it was read, with where it stands."""

    head: str
    text: str
    source: str = ""
    tone: Tone = "plain"


Block = Heading | Text | Facts | Table | Items | Pictures | Bar | Quote


def cell(one: Cell | str) -> Cell:
    return one if isinstance(one, Cell) else Cell(one)
