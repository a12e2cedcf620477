"""What is wrong with this text? A verdict with its evidence, for documents and for short windows.

Each question looks first at what can be counted in one pass, and closer only where something is
odd: docs/lint.md has the rules and the figures. The first question that says corrupt names the
class. Web-quality filters cannot do this: Gopher's rejects every
clean Chinese and code document.
"""

import re
from collections.abc import Mapping

from steadytrain.text import belonging, encoded, garbled, repetition
from steadytrain.text.habits import Habits
from steadytrain.text.profile import Profile
from steadytrain.text.verdict import CLEAN, Verdict, corrupt

BLANK_CHARS = 16
BLANK_SHARE = 0.02
"""Fewer visible characters than either: blank. Source: facts, text rules."""

GAP = 120
GAP_SHARE = 0.2
"""White space in a row, as characters and as share of the text, that is a hole in it."""

DEFAULTS = Habits()
_WIDE_SPACES = ("\u00a0", "\u3000", "\u2003", "\u2002", "\u200b", "\ufeff")
_HOLES = ("\n" * 16, " " * 128, "\t" * 32)
_GAP = re.compile(rf"\s{{{GAP},}}")


def lint(
    text: str,
    *,
    domain: str | None = None,
    profiles: Mapping[str, Profile] | None = None,
    habits: Habits | None = None,
) -> Verdict:
    """Say what is wrong with a text.

    Args:
        domain: what it should be; the part before "/" decides which script is expected.
        profiles: of the run's own domains, for `wrong_domain` beyond the script; None for those of
            zh, en and code that are shipped.
        habits: limits raised above what is usual in the domain; None for the defaults.
    """
    if not text:
        return corrupt("blank", 1.0, ((0, 0),), "the text is empty")
    limits = habits or DEFAULTS
    top = domain.split("/")[0] if domain else None
    raw = text.encode("utf-8", "replace")
    odd = encoded.find(text, raw, limits.encoded)
    return (
        _blank(text, raw)
        or garbled.find(text, raw, garbled.Limits(limits.replaced, limits.rare_han))
        or (odd if odd and odd.verdict == "corrupt" else None)
        or garbled.noise(text, raw)
        or repetition.find(text, raw, limits.repeated)
        or belonging.markup(text, top, limits.tags)
        or belonging.wrong_script(text, top, limits.foreign)
        or (None if odd else belonging.unlike(text, domain, profiles, lead=limits.lead))
        or odd
        or CLEAN
    )


def _blank(text: str, raw: bytes) -> Verdict | None:
    if len(text) < 8:
        return None
    spaces = len(raw) - len(raw.translate(None, b" \t\n\r\f\v"))
    spaces += 0 if text.isascii() else sum(map(text.count, _WIDE_SPACES))
    visible = len(text) - spaces
    newlines = text.count("\n")
    if visible < max(BLANK_CHARS, BLANK_SHARE * len(text)):
        what = "newlines" if newlines >= 0.4 * (len(text) - visible) else "white space"
        return corrupt(
            "blank", 0.99, ((0, len(text)),),
            f"{visible} of {len(text)} characters are visible: {what}",
        )  # fmt: skip
    if not any(hole in text for hole in _HOLES):
        return None
    spans = tuple(
        match.span() for match in _GAP.finditer(text) if _is_hole(match.group(), len(text))
    )
    gaps = sum(stop - first for first, stop in spans)
    if gaps < GAP_SHARE * len(text) and gaps < 10 * GAP:
        return None
    return corrupt("blank", 0.9, spans, f"{gaps} of {len(text)} characters are holes in the text")


def _is_hole(space: str, size: int) -> bool:
    """Lines without words; within a line it pads a table, if it is not very long."""
    return space.count("\n") >= 0.1 * len(space) or len(space) >= min(3 * GAP, 0.25 * size)
