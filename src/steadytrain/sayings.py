"""Sentences of the journal in the language of the reader.

Whoever writes a journal writes English, and reads no table for it. A reader who wants Chinese gets
each sentence by its shape: `chinese/` holds the shapes, such as "rank {rank:n} asked not to be
started again (exit status {code:n}).", each with its Chinese form. So journals stay one language,
old ones too, and what is quoted (names, paths, texts) stays as it is.

What a hole takes: `n` a number, `i` an id or a name without a space, `l` names with commas between
them, `w` known words with commas between them, `c` a clause of these tables, `s` sentences of
them, `t` the same or else anything, and without a letter anything.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TypeVar

import msgspec

from steadytrain.chinese.analyses import ANALYSES
from steadytrain.chinese.commands import COMMANDS
from steadytrain.chinese.deaths import DEATHS
from steadytrain.chinese.diagnoses import DIAGNOSES
from steadytrain.chinese.faults import FAULTS
from steadytrain.chinese.hosts import HOSTS
from steadytrain.chinese.panels import PANELS
from steadytrain.chinese.persons import PERSONS
from steadytrain.chinese.remedies import REMEDIES
from steadytrain.chinese.states import STATES
from steadytrain.chinese.texts import TEXTS
from steadytrain.chinese.words import WORDS
from steadytrain.events import (
    Advice,
    BatchExamined,
    Cause,
    CheckpointFailed,
    CheckpointRefused,
    CopiesLacking,
    Diagnosis,
    ExaminedSequence,
    GiveUp,
    Incident,
    MirrorFailed,
    Outcome,
    PanelDrawn,
    PanelRecord,
    PanelWanted,
    ProcessExited,
    Proposal,
    Remedy,
    Restart,
    RestoreVerified,
    StatesBrought,
    Trend,
)

TABLES = (
    COMMANDS, DIAGNOSES, REMEDIES, PANELS, DEATHS, STATES, TEXTS, PERSONS, ANALYSES, FAULTS, HOSTS,
)  # fmt: skip

SENTENCES: dict[type[msgspec.Struct], tuple[str, ...]] = {
    Advice: ("text",),
    BatchExamined: ("sequences",),
    Cause: ("evidence", "against", "refuted_by"),
    CheckpointFailed: ("reason",),
    CheckpointRefused: ("reason",),
    CopiesLacking: ("why",),
    Diagnosis: ("causes",),
    ExaminedSequence: ("evidence",),
    GiveUp: ("cause", "why"),
    Incident: ("reason",),
    MirrorFailed: ("reason",),
    Outcome: ("why",),
    PanelDrawn: ("notes",),
    PanelRecord: ("why",),
    PanelWanted: ("why",),
    ProcessExited: ("error",),
    Proposal: ("why",),
    Remedy: ("why",),
    Restart: ("cause", "why"),
    RestoreVerified: ("differences",),
    StatesBrought: ("why",),
    Trend: ("evidence", "against", "expected", "refuted_by"),
}
"""Fields that hold sentences, or what holds them; all others are names, numbers and quotations."""

LONGEST = 2_000
"""A longer text is no sentence of ours. [characters]"""

DEEPEST = 8
"""More colons in a sentence than that are not ours: "rank 3: file: ..." has two."""

_HOLE = re.compile(r"\{(\w+)(?::([nilwcst]))?\}")
_KNOWN = "|".join(re.escape(one) for one in sorted(WORDS, key=len, reverse=True))
_WORD = rf"(?:{_KNOWN})(?::[^,]+?)?"
_HOLDS = {
    "n": r"[-+]?(?:\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?|inf|nan)%?",
    "i": r"\S+?",
    "w": rf"{_WORD}(?:, {_WORD})*",
    "c": r"[^,;:]+?",
}

_Event = TypeVar("_Event", bound=msgspec.Struct)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A sentence with holes.

    Attributes:
        longest: its longest piece without a hole: what does not hold that has another shape.
    """

    english: str
    chinese: str
    longest: str

    def translate(self, text: str) -> str | None:
        """The Chinese of a sentence of this shape; None of another sentence."""
        if self.longest not in text:
            return None
        pattern, kinds = _pattern(self.english)
        if (found := pattern.fullmatch(text)) is None:
            return None
        holes = {name: _FILLS[kinds[name]](value) for name, value in found.groupdict().items()}
        return None if None in holes.values() else self.chinese.format(**holes)


def word(name: str) -> str:
    """A word of the journal in Chinese, such as a signal with its domain."""
    head, mark, domain = name.partition(":")
    if head == "grad norm":  # of a group of layers, and no domain
        domain = WORDS.get(domain, domain)
    return f"{WORDS.get(head, head)}\uff08{domain}\uff09" if mark else WORDS.get(head, head)


def say(text: str, lang: str) -> str:
    """A sentence, or several with semicolons between them; an unknown one stays as it is.

    >>> say("none of 64 sequences read is corrupt", "en")
    'none of 64 sequences read is corrupt'
    """
    is_quoted = len(text) > LONGEST or any(one.count(": ") > DEEPEST for one in text.split("; "))
    return text if lang != "zh" or is_quoted else _try(text)


def translated(event: _Event, lang: str) -> _Event:
    """An event whose sentences are in the language of the reader; its names stay."""
    names = SENTENCES.get(type(event), ()) if lang == "zh" else ()
    if not names:
        return event
    changed = {name: _value(getattr(event, name), lang) for name in names}
    return msgspec.structs.replace(event, **changed)


def _value(value: object, lang: str) -> object:
    if isinstance(value, str):
        return say(value, lang)
    if isinstance(value, tuple):
        return tuple(_value(one, lang) for one in value)
    return translated(value, lang) if isinstance(value, msgspec.Struct) else value


@cache
def shapes() -> tuple[Shape, ...]:
    """Every shape; that with the most letters of its own first, as the one that says the most; of
    two with as many, that whose holes take less."""
    pairs = [pair for table in TABLES for pair in table.items()]
    return tuple(
        Shape(english=english, chinese=chinese, longest=max(_own(english), key=len))
        for english, chinese in sorted(pairs, key=lambda pair: _looseness(pair[0]))
    )


def _pieces(english: str) -> list[str]:
    """A piece, a name, a kind, a piece, ..."""
    return _HOLE.split(english)


def _own(english: str) -> list[str]:
    return _pieces(english)[::3]


def _looseness(english: str) -> tuple[int, int]:
    kinds = _pieces(english)[2::3]
    return -sum(map(len, _own(english))), sum(kind not in _HOLDS for kind in kinds)


@cache
def _pattern(english: str) -> tuple[re.Pattern[str], dict[str, str]]:
    """What matches sentences of a shape, and the kinds of its holes."""
    pieces = _pieces(english)
    pattern, kinds = re.escape(pieces[0]), {}
    for name, kind, piece in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
        kinds[name] = kind or ""
        pattern += f"(?P<{name}>{_HOLDS.get(kind, '.+?')}){re.escape(piece)}"
    return re.compile(pattern, re.DOTALL), kinds


@lru_cache(maxsize=4096)
def _sentence(text: str) -> str | None:
    """One sentence; None if it is not known."""
    if text in WORDS:
        return WORDS[text]
    for one in shapes():
        if (said := one.translate(text)) is not None:
            return said
    return None


def _sentences(text: str) -> str | None:
    """One sentence, or several in a list; None if any of them is not known."""
    if (whole := _sentence(text)) is not None:
        return whole
    for mark, ours in (("; ", "\uff1b"), (", ", "\uff0c")):
        said = [_sentence(one) for one in text.split(mark)]
        if len(said) > 1 and None not in said:
            return ours.join(one for one in said if one is not None)
    return None


def _try(text: str) -> str:
    return _sentences(text) or text


def _words(text: str) -> str:
    return "\u3001".join(word(name) for name in text.split(", "))


def _names(text: str) -> str:
    return text.replace(", ", "\u3001")


_FILLS: dict[str, Callable[[str], str | None]] = {
    "n": str,
    "i": str,
    "": str,
    "w": _words,
    "l": _names,
    "c": _sentence,
    "s": _sentences,
    "t": _try,
}
