"""An analysis as text for a terminal: what, when, how large, how long, why, what to look at."""

import math

from steadytrain.analysis import Analysis, Hint, Trouble
from steadytrain.sayings import say

WIDEST = 12
"""More troubles than this are shown by size, and the rest is counted."""


def summarize(analysis: Analysis, lang: str = "en") -> str:
    """Some lines a run and a paragraph for each trouble; names of series stay as they are."""
    return "\n".join(say(line, lang) for line in _lines(analysis))


def _lines(analysis: Analysis) -> list[str]:
    steps = analysis.table.steps
    lines = [
        f"{analysis.name}  ({analysis.format}, {len(steps):,} rows, steps {steps.min()} to "
        f"{steps.max()})",
        f"  watched: {', '.join(_named(name, tag) for name, tag in analysis.tags.items())}",
    ]
    lines += [f"  remark: {remark}" for remark in analysis.remarks]
    troubles = analysis.troubles
    if not troubles:
        return [*lines, "  nothing found: every signal stayed in its band", ""]
    shown = troubles
    if len(troubles) > WIDEST:
        largest = sorted(troubles, key=_size, reverse=True)[:WIDEST]
        shown = tuple(one for one in troubles if one in largest)
    found = f"  {len(troubles)} found"
    lines.append(f"{found}:" if shown == troubles else f"{found}, the {WIDEST} largest:")
    for one in shown:
        lines += _paragraph(one)
    return [*lines, ""]


def _paragraph(one: Trouble) -> list[str]:
    where = one.signal + (f" ({', '.join(one.domains)})" if one.domains else "")
    others = [name for name in one.signals if name != one.signal and not name.startswith("loss:")]
    lines = [
        f"  step {one.onset}: {one.kind} in {where}, with {', '.join(others)}"
        if others
        else f"  step {one.onset}: {one.kind} in {where}",
        f"    {_number(one.value)} where {_number(one.expected)} was expected ({_far(one.score)}); "
        f"{_long(one)}; {_ended(one)}",
    ]
    lines += [f"    {_hint(hint)}" for hint in one.hints[:2]]
    return [*lines, f"    look at {one.look_at}"]


def _hint(hint: Hint) -> str:
    words = f"maybe {hint.cause}: {'; '.join(hint.evidence_for)}"
    against = "; ".join(hint.evidence_against)
    return f"{words} (against: {against})" if against else words


def _long(one: Trouble) -> str:
    return "one row" if one.rows == 1 else f"{one.rows} rows, to step {one.last}"


def _ended(one: Trouble) -> str:
    if one.end == "lasting":
        return "not over when the log ends"
    return {"recovered": "recovered", "new level": "stayed at a new level"}.get(
        one.end, "the run went back"
    )


def _far(score: float) -> str:
    return f"{score:+.1f} sigma" if math.isfinite(score) else "not finite"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _named(name: str, tag: str) -> str:
    return name if name == tag else f"{name} = {tag}"


def _size(one: Trouble) -> float:
    return abs(one.score) if math.isfinite(one.score) else math.inf
