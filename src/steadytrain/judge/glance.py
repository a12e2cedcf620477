"""One look beside all that is remembered: who rang, how far everyone moved, what is known."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import mean, median, stdev
from typing import Literal

import msgspec

from steadytrain import causes
from steadytrain.events import Alarm, Judgment, PanelMove, Trend
from steadytrain.judge.looks import (
    Effect,
    Happening,
    Kind,
    Looks,
    Mark,
    Open,
    Pending,
    Whole,
    line_through,
    merged,
    move,
    trained,
)
from steadytrain.judge.situation import TRAINED, Direction, Domain, Explanation, Progress, Situation
from steadytrain.stats.drift import Drift, Scores
from steadytrain.stats.forecast import Line
from steadytrain.stats.paired import change

TURNS = 1.1
"""A learning rate that is another by this factor than at the look compared with has turned."""

_BESIDES: tuple[Kind, ...] = ("lr up", "lr down", "corrupt", "leaked")

UNSEEN = 0.1
"""A domain that lost so much of its loss since the first look, where no curve is known yet, is
learned as if it were new. [share of the loss]"""

LEAST = 4
"""Stretches between looks that tell what training losses and gradient norms were as a rule."""


@dataclass(frozen=True, kw_only=True)
class Glance:
    """What one look shows.

    Args:
        looks: as before the look was learned; its mark is the newest.
        present: indexes of the domains that the panel holds.
        scores: against the curve; without a forecast while there is none.
        jitter, rises, shows: settings of `Outlook`.
    """

    drift: Drift
    jitter: float
    rises: float
    shows: int
    looks: Looks
    now: Whole
    present: tuple[int, ...]
    domains: tuple[str, ...]
    scores: Scores

    def ring(self, attempt: int) -> tuple[Looks, tuple[Judgment, ...]]:
        """Domains that left their curves at this look, each direction told once for a curve."""
        rung, pending, alarms = self.looks.rung, list(self.looks.pending), []
        for at, direction in self._rang().items():
            if (at, direction) in rung:
                continue
            rung = (*rung, (at, direction))
            pending.append(Pending(domain=at, direction=direction, step=self.now.step))
            expected = self._expected(at)
            alarms.append(
                Alarm(
                    attempt=attempt, step=self.now.step, signal=f"panel:{self.domains[at]}",
                    direction=direction, value=self.now.means[at],
                    expected=self.anchor.means[at] if expected is None else expected,
                    score=self.z[at],
                )
            )  # fmt: skip
        looks = msgspec.structs.replace(self.looks, rung=rung, pending=tuple(pending))
        return looks, tuple(alarms)

    def situation(self, rung: Mapping[int, Direction]) -> Situation:
        """All that the table asks for; `rung`: what rang and is not explained."""
        first = [one.step for one in self.looks.pending]
        odd = sum(one.step >= min(first) for one in self.looks.marks) if first else 0
        return Situation(
            step=self.now.step,
            domains=tuple(self._domain(at, rung.get(at, "")) for at in self.present),
            lr=self._rate(),
            steeper=self._steeper(),
            reads_leaks=bool(self.looks.ever.leaked or self.looks.block.leaked),
            gap=self.gap,
            looks=max(odd, len(self.looks.course.aside) + 1),
        )

    def open(self, looks: Looks, one: Explanation) -> tuple[Looks, tuple[Judgment, ...]]:
        """Say an explanation, and that others of its domains gave way."""
        number = looks.num_trends + 1
        trend = Trend(
            id=f"trend-{number}", state="explained", step=self.now.step, pattern=one.pattern,
            domains=one.about, begun=one.begun, is_expected=one.is_expected,
            moves=self.moves(self.anchor.step), evidence=one.evidence, against=one.against,
            expected=one.expected, due=one.due, refuted_by=one.refuted_by,
        )  # fmt: skip
        gone = [other for other in looks.open if set(other.trend.domains) & set(one.about)]
        told = [
            msgspec.structs.replace(
                other.trend, state="gave way", step=self.now.step, moves=(), against=(),
                evidence=(f"{one.pattern} explains it since {trend.id}",), expected="", due=None,
                refuted_by="",
            )
            for other in gone
        ]  # fmt: skip
        steps = looks.course.steps
        base = (steps[0], steps[-1]) if steps else (self.anchor.step, self.anchor.step)
        opened = Open(trend=trend, anchor=self.anchor.step, base=base, due=one.due)
        left = tuple(other for other in looks.open if other not in gone)
        looks = msgspec.structs.replace(looks, open=(*left, opened), num_trends=number)
        return looks, (*told, trend)

    def moves(self, anchor: int) -> tuple[PanelMove, ...]:
        """Of all domains against the look of that step, paired, jitter of both looks included."""
        before = next((one for one in self.looks.wholes if one.step == anchor), self.anchor)
        return tuple(self._move(at, before) for at in self.present)

    def progress(self, one: Open) -> Progress:
        """How the domains of an explanation stand."""
        about = [at for at in self.present if self.domains[at] in one.trend.domains]
        marks = [mark for mark in self.looks.marks if mark.step >= one.anchor]
        line = line_through(self.looks, one.base, self.present, self.drift.curve)
        z, jitter = None, min(self.jitter, max(self._spread(at) for at in about))
        if line is not None:
            forecast, places = line.at(self.now.step), [self.present.index(at) for at in about]
            z = mean(
                forecast.score(place, self.now.means[at])
                for place, at in zip(places, about, strict=True)
            )
            jitter = max(jitter, *(float(line.spread[place]) for place in places))
        return Progress(
            step=self.now.step,
            series=tuple(mean(mark.losses[at] for at in about) for mark in marks),
            z=z,
            jitter=jitter,
            is_over=self._is_over(one, about),
            gap=self.gap,
        )

    def effects(self, one: Open) -> list[Effect]:
        """What the change of the mixture that an explanation quotes did to each domain; nothing if
        the rate turned or a domain was new, since those move losses as well."""
        line = line_through(self.looks, one.base, self.present, self.drift.curve)
        news = [seen for seen in self.looks.happenings if seen.until > one.anchor]
        if line is None or any(seen.kind in _BESIDES or not seen.before for seen in news):
            return []
        forecast, found = line.at(self.now.step), []
        for place, at in enumerate(self.present):
            shares = self._heard("share up", at) + self._heard("share down", at)
            mine = [share for share in shares if share.step >= one.anchor]
            if len(mine) != 1:
                continue
            found.append(
                Effect(
                    domain=at,
                    step=mine[0].step,
                    updates=self.now.step - mine[0].step,
                    before=mine[0].before,
                    after=self.looks.usual.share(at),
                    moved=self.now.means[at] - forecast.loss[place],
                    error=forecast.error[place],
                )
            )
        return found

    def is_harder(self, at: int, *, already: int) -> bool:
        """The updates since the last look were harder for a domain than before the looks that were
        so `already`."""
        marks = self.looks.marks[: -1 - already]
        past = [mark.since.loss(at) for mark in marks[-self.shows :]]
        known = [one for one in past if one is not None]
        newest = self.looks.marks[-1].since.loss(at)
        if newest is None or len(known) < 2 * LEAST:
            return False
        spread = max(stdev(known), self.drift.curve.floor)
        return newest - mean(known) > self.rises * spread * math.sqrt(1 + 1 / len(known))

    @cached_property
    def anchor(self) -> Whole:
        """The newest look of the old curve; the newest before what happened, without one."""
        course, held = self.looks.course, self.looks.held
        last = course.steps[-1] if course.steps else held
        older = [one for one in self.looks.wholes if last is None or one.step <= last]
        found = older[-1:] or self.looks.wholes[:1] or (self.now,)
        return found[0]

    @cached_property
    def z(self) -> dict[int, float]:
        """Distance of each domain from its curve; without one, from the look compared with."""
        if self.scores.forecast is not None:
            return dict(zip(self.present, self.scores.z, strict=True))
        if self.anchor.step == self.now.step:
            return dict.fromkeys(self.present, 0.0)
        return {
            at: (self.now.means[at] - self.anchor.means[at]) / self._error(at, self.anchor)
            for at in self.present
        }

    @cached_property
    def gap(self) -> int:
        """Steps from look to look, as a rule."""
        steps = [one.step for one in self.looks.marks[-9:]]
        gaps = [after - before for before, after in zip(steps, steps[1:], strict=False)]
        return max(1, round(median(gaps))) if gaps else 1

    def _rang(self) -> dict[int, Direction]:
        found: dict[int, Direction] = {}
        if self.scores.forecast is not None:
            for at, one in zip(self.present, self.scores.evidence, strict=True):
                if one.alarms and self._is_followed(at):
                    found[at] = "rise" if one.alarms == "rise" else "drop"
        elif self.looks.held is not None:
            for at in self.present:
                if self.z[at] > self.rises:
                    found[at] = "rise"
                elif self._is_unseen(at):
                    found[at] = "drop"
        return found

    def _is_followed(self, at: int) -> bool:
        """Whether the model has been trained on a domain, as far as is known: what it has never
        seen drifts freely."""
        return self.looks.is_branch or trained(self.looks, at)

    def _domain(self, at: int, rung: Literal["", "rise", "drop"]) -> Domain:
        shares = self._heard("share up", at) + self._heard("share down", at)
        shares = sorted(shares, key=lambda one: one.step)
        after = (self.looks.usual if self.looks.usual.steps else self.looks.block).share(at)
        before = shares[0].before if shares else after
        corrupt, leaked = self._heard("corrupt", at), self._heard("leaked", at)
        is_new = before == 0 if shares else self._is_unseen(at)
        return Domain(
            name=self.domains[at],
            z=self.z[at],
            rung=rung,
            move=self._move(at, self.anchor),
            share_before=0.0 if is_new else before,
            share_after=after,
            is_new=is_new,
            share=shares[-1] if shares else None,
            corrupt=corrupt[-1] if corrupt else None,
            leaked=leaked[-1] if leaked else None,
            trained=self._trained(at),
        )

    def _is_unseen(self, at: int) -> bool:
        """At the beginning of a branch: trained on, and much lower than at the first look."""
        if not self.looks.is_branch or self.scores.forecast is not None:
            return False
        before = self.anchor.means[at]
        is_trained = merged([mark.since for mark in self._later()]).share(at) >= TRAINED
        fell = (before - self.now.means[at]) / before if before else 0.0
        return is_trained and fell >= UNSEEN

    def _heard(self, kind: Kind, at: int) -> list[Happening]:
        """What was heard of a domain and may still show."""
        marks = self.looks.marks
        oldest = marks[-self.shows - 1].step if len(marks) > self.shows else -1
        return [
            one
            for one in self.looks.happenings
            if one.kind == kind
            and one.domain == self.domains[at]
            and (one.step >= oldest or (kind, at) in self.looks.ill)
        ]

    def _rate(self) -> Happening | None:
        """The newest turn of the learning rate that may still show."""
        turns = [one for one in self.looks.happenings if one.kind in ("lr up", "lr down")]
        if not turns:
            return None
        newest = turns[-1]
        then = next((one.since.lr for one in self._base()[-1:]), None)
        now = self.looks.marks[-1].since.lr
        moved = bool(then and now and (now >= TURNS * then or now <= then / TURNS))
        marks = self.looks.marks
        oldest = marks[-self.shows - 1].step if len(marks) > self.shows else -1
        is_fresh = newest.step >= self.anchor.step
        if newest.kind == "lr up":
            is_fresh = is_fresh or newest.until >= oldest
        return newest if is_fresh or moved else None

    def _base(self) -> list[Mark]:
        """Looks of the old curve."""
        steps = self.looks.course.steps
        if not steps:
            return []
        return [one for one in self.looks.marks if steps[0] <= one.step <= steps[-1]]

    def _later(self) -> list[Mark]:
        """Looks after the one compared with."""
        return [one for one in self.looks.marks if one.step > self.anchor.step]

    def _trained(self, at: int) -> tuple[float, float] | None:
        """Training loss of a domain since then, over that of before, and the error of that."""
        past = [mark.since.loss(at) for mark in self._base()]
        known = [one for one in past if one is not None]
        since = merged([mark.since for mark in self._later()]).loss(at)
        if since is None or len(known) < LEAST:
            return None
        spread = max(stdev(known), self.drift.curve.floor)
        error = spread * math.sqrt(1 / len(known) + 1 / max(1, len(self._later())))
        return since - mean(known), error

    def _steeper(self) -> tuple[float, float] | None:
        """ln of the factor of the gradient norms since then, and its error."""
        past = [mark.since for mark in self._base() if mark.since.norm_steps]
        later = [mark.since for mark in self._later() if mark.since.norm_steps]
        if len(past) < LEAST or not later:
            return None
        before = [one.norm_logs / one.norm_steps for one in past]
        after = [one.norm_logs / one.norm_steps for one in later]
        error = max(stdev(before), 0.01) * math.sqrt(1 / len(before) + 1 / len(after))
        return mean(after) - mean(before), error

    def _move(self, at: int, before: Whole) -> PanelMove:
        error = self._error(at, before) if before.step != self.now.step else 0.0
        return move(
            self.domains[at], at, before, self.now, error=error, expected=self._expected(at)
        )

    def _error(self, at: int, before: Whole) -> float:
        """Of a paired change: that of the sequences, and the jitter of both looks."""
        old, new = before.losses[at], self.now.losses[at]
        paired = change(old, new).error if len(old) == len(new) > 1 else 0.0
        return math.sqrt(paired**2 + 2 * self._spread(at) ** 2)

    def _expected(self, at: int) -> float | None:
        forecast = self.scores.forecast
        return None if forecast is None else forecast.loss[self.present.index(at)]

    def _spread(self, at: int) -> float:
        """Jitter of a look about its curve, the noise of a paired look included."""
        if self._line is None:
            return self.jitter
        return float(self._line.spread[self.present.index(at)])

    @cached_property
    def _line(self) -> Line | None:
        return self.drift.curve.fit(self.looks.course.steps, self.looks.course.losses)

    def _is_over(self, one: Open, about: list[int]) -> bool:
        """Whether what was to last has ended by itself."""
        kinds = {causes.CORRUPT_SOURCE: "corrupt", causes.LEAKED: "leaked"}
        kind = kinds.get(one.trend.pattern)
        if kind is not None:
            was = any(
                seen.kind == kind and seen.domain in one.trend.domains
                for seen in self.looks.happenings
            )
            return was and not any((kind, at) in self.looks.ill for at in about)
        later = [seen for seen in self.looks.happenings if seen.step > one.trend.step]
        if one.trend.pattern in (causes.STARVED, causes.LEARNING):
            return any(
                seen.kind.startswith("share") and seen.domain in one.trend.domains for seen in later
            )
        return one.trend.pattern == causes.ANNEALING and any(seen.kind == "lr up" for seen in later)
