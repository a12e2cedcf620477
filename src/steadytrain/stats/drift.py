"""Is a panel still on its curve? A forecast, its scores and the bets against them, together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist, median

import msgspec

from steadytrain.stats.forecast import Curve, Forecast
from steadytrain.stats.sequential import Bets, Evidence, Whitening


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """What `Drift` remembers; plain numbers that a journal can hold.

    Attributes:
        steps, losses: of the looks that the curve is drawn through, oldest first.
        aside, aside_losses: of those since that were too odd to learn, or that were not to be.
        bets: per domain. before: the scores of the look before, empty where there is none.
        products, squares: sums over neighbouring scores in calm.
    """

    steps: tuple[int, ...] = ()
    losses: tuple[tuple[float, ...], ...] = ()
    aside: tuple[int, ...] = ()
    aside_losses: tuple[tuple[float, ...], ...] = ()
    bets: tuple[tuple[float, ...], ...] = ()
    before: tuple[float, ...] = ()
    products: float = 0.0
    squares: float = 0.0

    @property
    def last(self) -> int | None:
        """Step of the newest look."""
        steps = self.aside or self.steps
        return steps[-1] if steps else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """What one look says.

    Attributes:
        forecast: None while the looks are too few; then the rest is empty.
        z: per domain, distance from the forecast. new: what in it is not owed to the look before.
        evidence: per domain. is_odd: too far off to be learned at once.
    """

    forecast: Forecast | None = None
    z: tuple[float, ...] = ()
    new: tuple[float, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    is_odd: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """Follows the domains of a panel and rings when one leaves its curve.

    A look beyond `odd` (for one domain; further for more) is set aside and the next one compared
    with the same curve, or a shift would pull the line after it before it is seen twice. One that
    is back on the curve shows that what was set aside was noise. After `patience` looks aside,
    what they show is the curve.

    Source: odd and patience: bench/panel_power.py; patience is the `least` of the curve, so that
    there is one to go on with.
    """

    curve: Curve = field(default_factory=Curve)
    bets: Bets = field(default_factory=Bets)
    whitening: Whitening = field(default_factory=Whitening)
    odd: float = 2.5
    patience: int = 8

    def init(self) -> Course:
        return Course()

    def score(
        self,
        course: Course,
        step: int,
        losses: Sequence[float],
        *,
        steady: Sequence[bool] | None = None,
    ) -> Scores:
        """What a look says; a loss that is not finite is infinitely far off. Never learns.

        Args:
            steady: domains that may decide whether a look is odd; one that is not trained on
                wanders. All of them if None.
        """
        line = self.curve.fit(course.steps, course.losses)
        if line is None:
            return Scores()
        forecast = line.at(step)
        count = len(losses)
        z = tuple(forecast.score(at, loss) for at, loss in enumerate(losses))
        correlation = self._correlation(course, step)
        before = course.before or (None,) * count
        new = tuple(
            self.whitening.innovation(one, old, correlation)
            for one, old in zip(z, before, strict=True)
        )
        bets = course.bets or (self.bets.init(),) * count
        evidence = tuple(
            self.bets.score(mine, one, series=count) for mine, one in zip(bets, new, strict=True)
        )
        telling = steady or (True,) * count
        kept = [one for one, is_telling in zip(z, telling, strict=True) if is_telling]
        limit = self._odd_limit(max(1, len(kept)))
        return Scores(
            forecast=forecast,
            z=z,
            new=new,
            evidence=evidence,
            is_odd=any(abs(one) > limit for one in kept),
        )

    def learn(
        self,
        course: Course,
        step: int,
        losses: Sequence[float],
        scores: Scores,
        *,
        is_held: bool = False,
    ) -> Course:
        """The course after a look. Held: something happened, the look is not of the old curve."""
        look = tuple(losses)
        if not all(map(math.isfinite, look)):
            return course
        if scores.forecast is None:
            if not is_held:
                return self._append(course, step, look)
            return self._set_aside(course, step, look)
        bets = course.bets or (self.bets.init(),) * len(look)
        old = course.before
        course = msgspec.structs.replace(
            course,
            bets=tuple(self.bets.learn(one, z) for one, z in zip(bets, scores.new, strict=True)),
            before=scores.z,
        )
        if is_held or scores.is_odd:
            return self._set_aside(course, step, look)
        return self._append(
            msgspec.structs.replace(
                course,
                products=course.products + _dot(scores.z, old),
                squares=course.squares + _dot(old, old),
            ),
            step,
            look,
        )

    def hold(self, course: Course, *, after: int) -> Course:
        """The course when something is heard of that happened after step `after`: looks since then
        are not of the old curve."""
        kept = sum(one <= after for one in course.steps)
        if kept == len(course.steps):
            return course
        return msgspec.structs.replace(
            course,
            steps=course.steps[:kept],
            losses=course.losses[:kept],
            aside=(*course.steps[kept:], *course.aside),
            aside_losses=(*course.losses[kept:], *course.aside_losses),
        )

    def rebase(self, course: Course, *, since: int) -> Course:
        """The course when the curve before `since` says nothing about what comes."""
        steps, losses = (*course.steps, *course.aside), (*course.losses, *course.aside_losses)
        kept = [at for at, step in enumerate(steps) if step >= since]
        return msgspec.structs.replace(
            course,
            steps=tuple(steps[at] for at in kept),
            losses=tuple(losses[at] for at in kept),
            aside=(),
            aside_losses=(),
            bets=(),
            before=(),
        )

    def rewind(self, course: Course, step: int) -> Course:
        """The course when the model goes back to `step`: later looks are of no model that is."""
        return msgspec.structs.replace(
            course,
            steps=tuple(one for one in course.steps if one <= step),
            losses=course.losses[: sum(one <= step for one in course.steps)],
            aside=tuple(one for one in course.aside if one <= step),
            aside_losses=course.aside_losses[: sum(one <= step for one in course.aside)],
            bets=(),
            before=(),
        )

    def _append(self, course: Course, step: int, look: tuple[float, ...]) -> Course:
        most = self.curve.most
        return msgspec.structs.replace(
            course,
            steps=(*course.steps, *course.aside, step)[-most:],
            losses=(*course.losses, *course.aside_losses, look)[-most:],
            aside=(),
            aside_losses=(),
        )

    def _set_aside(self, course: Course, step: int, look: tuple[float, ...]) -> Course:
        course = msgspec.structs.replace(
            course, aside=(*course.aside, step), aside_losses=(*course.aside_losses, look)
        )
        if len(course.aside) < self.patience:
            return course
        return self.rebase(course, since=course.aside[0])

    def _correlation(self, course: Course, step: int) -> float:
        last = course.last
        gaps = [after - one for one, after in zip(course.steps, course.steps[1:], strict=False)]
        distance = (step - last) / max(median(gaps), 1) if gaps and last is not None else 1.0
        return self.whitening.correlation(course.products, course.squares, distance=distance)

    def _odd_limit(self, count: int) -> float:
        """`odd` for one domain; as far out for the most distant of several."""
        tail = 1 - NormalDist().cdf(self.odd)
        return -NormalDist().inv_cdf(tail / count)


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=False))
