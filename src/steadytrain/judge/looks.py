"""What is remembered of the looks at the panel, and of what happened between two of them."""

import math
from typing import Literal, TypeVar

import msgspec

from steadytrain.events import PanelMove, PanelRecord, StepRecord, Trend
from steadytrain.stats.drift import Course
from steadytrain.stats.forecast import Curve, Line

Number = TypeVar("Number", int, float)

MARKS = 64
"""Looks remembered by their means; older ones are thinned. [looks]"""

WHOLE = 4
"""Newest looks remembered sequence by sequence, besides those that something is compared with:
what happened is heard of within 32 updates, which may be some looks late. [looks]"""

HAPPENINGS = 32
FINE = 4
"""Decimals of a sequence's loss that are kept."""

Kind = Literal[
    "lr up", "lr down", "share up", "share down", "corrupt", "leaked", "restored", "remedy"
]


MOVING: tuple[Kind, ...] = ("lr up", "lr down", "share up", "share down", "corrupt", "leaked")
"""What may move the panel away from its curve for longer than a look."""


class Happening(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that may move the panel.

    Attributes:
        step: the last update before it. until: the newest update of a rate that goes on changing.
        domain: of a share or of texts. before, after: rate, or share of tokens or sequences.
    """

    kind: Kind
    step: int
    until: int
    domain: str | None = None
    before: float = 0.0
    after: float = 0.0


class Tally(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Sums over committed updates; per domain where there are several numbers. lr: the newest."""

    first: int = 0
    last: int = 0
    steps: int = 0
    nll: tuple[float, ...] = ()
    tokens: tuple[int, ...] = ()
    sequences: tuple[int, ...] = ()
    corrupt: tuple[int, ...] = ()
    leaked: tuple[int, ...] = ()
    norm_steps: int = 0
    norm_logs: float = 0.0
    lr: float | None = None

    def loss(self, at: int) -> float | None:
        """Mean training loss of a domain; None without tokens. [nats/token]"""
        if len(self.tokens) <= at or not self.tokens[at]:
            return None
        return self.nll[at] / self.tokens[at]

    def share(self, at: int) -> float:
        """Of a domain in the tokens."""
        whole = sum(self.tokens)
        return self.tokens[at] / whole if whole and len(self.tokens) > at else 0.0

    def rate(self, counts: tuple[int, ...], at: int) -> float:
        """Share of a domain's sequences that were counted."""
        if len(counts) <= at or not self.sequences[at]:
            return 0.0
        return counts[at] / self.sequences[at]


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A look by its means, and what the training did since the one before."""

    step: int
    losses: tuple[float, ...]
    since: Tally


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """A look by its sequences. [nats/token]"""

    step: int
    means: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]


class Swing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the learning rate is between its turns.

    Attributes:
        low, high: (step, rate) of the newest lowest and highest since the last turn.
        turned: "up" or "down": where it goes; "" before the first turn.
        is_first: the first rise of a run is its warm-up, and no news.
    """

    low: tuple[int, float] | None = None
    high: tuple[int, float] | None = None
    turned: Literal["", "up", "down"] = ""
    is_first: bool = True


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A domain that rang and is not explained yet; `looks` since then."""

    domain: int
    direction: Literal["rise", "drop"]
    step: int
    looks: int = 0


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """An explanation whose expectation is not settled.

    Attributes:
        anchor: step of the look that it compares with.
        base: (first, last) step of the looks that its curve is drawn through.
        due: step by which it is settled; `extended`: how often that was put off.
    """

    trend: Trend
    anchor: int
    base: tuple[int, int]
    due: int | None
    extended: int = 0


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """What a change of its share did to a domain.

    Attributes:
        step: the last update before the change; updates: after it, until it was measured.
        moved, error: against where its curve would have led. [nats/token]
    """

    domain: int
    step: int
    updates: int
    before: float
    after: float
    moved: float
    error: float


class Looks(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that is remembered of the panel beside the newest looks of `State`.

    Attributes:
        every: steps between looks as the run was set up; None: as the judge asks for them.
        is_branch: the run began from another's state, and what that had seen is not known.
        version: of the panel that the looks are of. unigram: as `PanelDrawn` says it.
        no_better: looks in a row that were no better than counting tokens.
        stretch: updates since the newest look. blocks: of eight updates each, newest last.
        usual: updates since the shares changed last; ever: all updates, for what texts are like.
        ill: (kind, domain) of texts that are not as usual at present.
        num_happenings, heeded: how many there were, and how many of them the looks know of.
        held: the last update before what happened newest; looks after it are not of the old curve.
        rung: (domain, direction) that rang since the curve began.
        harder: per domain, looks in a row whose updates were harder than before.
        settled: explanations that came true lately; what follows from them needs no new name.
        effects: of changes of the mixture, as far as they were measured.
        asked: step before which the panel was asked for last.
        extra: steps before which it shall be looked at because of what happened.
        step_seconds, look_seconds: of all updates and looks that told; num_timed: looks that did.
    """

    has_panel: bool = False
    every: int | None = None
    is_branch: bool = False
    version: int = 1
    unigram: tuple[float | None, ...] = ()
    no_better: int = 0
    course: Course = Course()
    marks: tuple[Mark, ...] = ()
    wholes: tuple[Whole, ...] = ()
    stretch: Tally = Tally()
    block: Tally = Tally()
    blocks: tuple[Tally, ...] = ()
    usual: Tally = Tally()
    ever: Tally = Tally()
    ill: tuple[tuple[str, int], ...] = ()
    swing: Swing = Swing()
    happenings: tuple[Happening, ...] = ()
    num_happenings: int = 0
    heeded: int = 0
    held: int | None = None
    rung: tuple[tuple[int, str], ...] = ()
    harder: tuple[int, ...] = ()
    pending: tuple[Pending, ...] = ()
    open: tuple[Open, ...] = ()
    settled: tuple[Open, ...] = ()
    num_trends: int = 0
    effects: tuple[Effect, ...] = ()
    asked: int | None = None
    extra: tuple[tuple[int, str], ...] = ()
    num_steps: int = 0
    step_seconds: float = 0.0
    num_timed: int = 0
    look_seconds: float = 0.0


def trained(looks: Looks, at: int) -> bool:
    """Whether this run has trained on a domain lately or at first."""
    known = (looks.ever, *looks.blocks, looks.block)
    return any(len(one.tokens) > at and one.tokens[at] for one in known)


def add(tally: Tally, record: StepRecord) -> Tally:
    """The sums with one more committed update."""
    norm = record.grad_norm
    has_norm = norm is not None and norm > 0 and math.isfinite(norm)
    return Tally(
        first=tally.first or record.step,
        last=record.step,
        steps=tally.steps + 1,
        nll=_plus(tally.nll, record.nll),
        tokens=_plus(tally.tokens, record.tokens),
        sequences=_plus(tally.sequences, record.sequences),
        corrupt=_plus(tally.corrupt, record.corrupt),
        leaked=_plus(tally.leaked, record.leaked),
        norm_steps=tally.norm_steps + has_norm,
        norm_logs=tally.norm_logs + (math.log(norm) if has_norm and norm else 0.0),
        lr=record.lr,
    )


def merged(tallies: "tuple[Tally, ...] | list[Tally]") -> Tally:
    """The sums of several stretches in their order."""
    whole = Tally()
    for one in tallies:
        if not one.steps:
            continue
        whole = Tally(
            first=whole.first or one.first,
            last=one.last,
            steps=whole.steps + one.steps,
            nll=_plus(whole.nll, one.nll),
            tokens=_plus(whole.tokens, one.tokens),
            sequences=_plus(whole.sequences, one.sequences),
            corrupt=_plus(whole.corrupt, one.corrupt),
            leaked=_plus(whole.leaked, one.leaked),
            norm_steps=whole.norm_steps + one.norm_steps,
            norm_logs=whole.norm_logs + one.norm_logs,
            lr=one.lr,
        )
    return whole


def whole_of(record: PanelRecord) -> Whole:
    """A look as it is kept; a domain without tokens has a mean that is not a number."""
    return Whole(
        step=record.step,
        means=tuple(
            nll / tokens if tokens else math.nan
            for nll, tokens in zip(record.nll, record.tokens, strict=True)
        ),
        losses=tuple(tuple(round(loss, FINE) for loss in some) for some in record.losses),
    )


def thin(marks: tuple[Mark, ...]) -> tuple[Mark, ...]:
    """At most `MARKS` looks: of the older half every second one, its stretch with the dropped."""
    if len(marks) <= MARKS:
        return marks
    half = len(marks) // 2
    kept = []
    for at in range(0, half - 1, 2):
        one, other = marks[at], marks[at + 1]
        kept.append(msgspec.structs.replace(other, since=merged((one.since, other.since))))
    return (*kept, *marks[len(kept) * 2 :])


def rewound(looks: Looks, step: int) -> Looks:
    """When the model goes back to `step`: looks of what was given up are of no model that is."""
    marks = tuple(one for one in looks.marks if one.step <= step)
    course = looks.course
    learned = sum(one <= step for one in course.steps)
    aside = sum(one <= step for one in course.aside)
    swing = msgspec.structs.replace(looks.swing, low=None, high=None, turned="")
    if looks.swing.low is None or looks.swing.low[0] < step:
        swing = msgspec.structs.replace(swing, is_first=False)
    return msgspec.structs.replace(
        looks,
        course=msgspec.structs.replace(
            course,
            steps=course.steps[:learned],
            losses=course.losses[:learned],
            aside=course.aside[:aside],
            aside_losses=course.aside_losses[:aside],
            bets=(),
            before=(),
        ),
        marks=marks,
        wholes=tuple(one for one in looks.wholes if one.step <= step),
        stretch=Tally(),
        block=Tally(),
        blocks=tuple(one for one in looks.blocks if one.last <= step),
        swing=swing,
        happenings=tuple(one for one in looks.happenings if one.step < step),
        held=looks.held if looks.held is not None and looks.held < step else None,
        rung=(),
        harder=(),
        pending=tuple(one for one in looks.pending if one.step <= step),
        open=tuple(one for one in looks.open if one.trend.step <= step),
        settled=tuple(one for one in looks.settled if one.trend.step <= step),
        effects=tuple(one for one in looks.effects if one.step + one.updates <= step),
        asked=None,
        extra=(),
    )


def line_through(
    looks: Looks, base: tuple[int, int], present: tuple[int, ...], curve: Curve
) -> Line | None:
    """The curve of the domains through these looks."""
    kept = [one for one in looks.marks if base[0] <= one.step <= base[1]]
    rows = [[one.losses[at] for at in present] for one in kept]
    steps = [one.step for one, row in zip(kept, rows, strict=True) if all(map(math.isfinite, row))]
    return curve.fit(steps, [row for row in rows if all(map(math.isfinite, row))])


def move(
    domain: str, at: int, before: Whole, now: Whole, *, error: float, expected: float | None
) -> PanelMove:
    """How far a domain moved between two looks; `error` of that, jitter included."""
    change = now.means[at] - before.means[at]
    return PanelMove(
        domain=domain,
        since=before.step,
        before=before.means[at],
        now=now.means[at],
        change=change,
        low=change - 1.96 * error,
        high=change + 1.96 * error,
        sequences=len(now.losses[at]),
        expected=expected,
    )


def _plus(one: tuple[Number, ...], other: tuple[Number, ...]) -> tuple[Number, ...]:
    """Sums by domain; a side that was not told counts as zeros."""
    if not one or not other:
        return one or other
    return tuple(a + b for a, b in zip(one, other, strict=True))
