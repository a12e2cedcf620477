"""The panel through the run: looks become alarms, alarms explanations, these come true or not.

It composes its siblings as `judge.py` does. It opens no incident and orders nothing but looks.
"""

import math

import msgspec

from steadytrain import causes
from steadytrain.events import (
    Alarm,
    Judgment,
    PanelDrawn,
    PanelRecord,
    PanelWanted,
    RunBegan,
    StepRecord,
)
from steadytrain.judge import patterns, schedule, trends
from steadytrain.judge.counting import compare_with_counting
from steadytrain.judge.glance import Glance
from steadytrain.judge.happenings import note, note_step
from steadytrain.judge.looks import (
    HAPPENINGS,
    MOVING,
    WHOLE,
    Happening,
    Kind,
    Looks,
    Mark,
    Open,
    Tally,
    Whole,
    thin,
    trained,
    whole_of,
)
from steadytrain.judge.shares import mixing_advice
from steadytrain.judge.situation import Direction
from steadytrain.judge.state import LAG
from steadytrain.stats.drift import Drift, Scores

Conclusion = tuple[Looks, tuple[Judgment, ...]]

MOST_OPEN = 16


class Outlook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the panel is followed. All memory is in `Looks`.

    Attributes:
        drift: when a domain has left its curve.
        wait: looks for which an alarm waits for a pattern to become clear, before "not known".
        shows: looks for which what happened may still explain something.
        jitter: of a look where there is no curve yet to tell it. [nats/token]
        rises: a rise against the newest look before what happened that alarms where there is no
            curve. [standard deviations]
        settles: updates of a run that are no part of any curve: what is learned first is learned in
            jumps. [steps]

    Source: jitter: the middle of .009 to .017, measured. rises: the limit of a single score. wait:
    a second look shows whether a movement lasts, the third is for luck. settles: of two lab runs
    from scratch one rang three times, for losses that fell faster at step 260 than from 80 to 240.
    shows: twice the looks after which a new curve is learned.
    """

    drift: Drift = Drift()
    wait: int = 3
    shows: int = 16
    jitter: float = 0.012
    rises: float = 4.0
    settles: int = 200

    def begin(self, looks: Looks, event: RunBegan) -> Looks:
        return msgspec.structs.replace(
            looks, has_panel=event.panel is not None, every=event.panel_every
        )

    def branch(self, looks: Looks) -> Looks:
        """A run that began from another's state has been warmed up."""
        swing = msgspec.structs.replace(looks.swing, is_first=False)
        return msgspec.structs.replace(looks, swing=swing, is_branch=True)

    def redraw(self, looks: Looks, event: PanelDrawn) -> Looks:
        """Another panel: nothing of the old one can be compared with it."""
        looks = msgspec.structs.replace(looks, unigram=event.unigram)
        if event.version == looks.version:
            return looks
        return msgspec.structs.replace(
            looks,
            version=event.version,
            no_better=0,
            course=self.drift.init(),
            marks=(),
            wholes=(),
            held=None,
            rung=(),
            harder=(),
            pending=(),
            open=(),
            settled=(),
        )

    def happen(self, looks: Looks, kind: Kind, step: int) -> Looks:
        """A deed that the panel is looked at after."""
        found = Happening(kind=kind, step=step, until=step)
        return schedule.extras(note(looks, [found]), (found,), step, LAG)

    def step(
        self,
        looks: Looks,
        record: StepRecord,
        domains: tuple[str, ...],
        *,
        begin: int,
        last: int | None,
    ) -> Conclusion:
        """One more update: what happened, and whether the panel shall be looked at."""
        before = looks.num_happenings
        looks = note_step(looks, record, domains)
        if looks.num_happenings > before:
            news = looks.happenings[before - looks.num_happenings :]
            looks = schedule.extras(looks, news, record.step, LAG)
        wanted = schedule.want(looks, begin=begin, step=record.step, last=last, lag=LAG)
        if wanted is None:
            return looks, ()
        asked = PanelWanted(step=record.step, due=wanted.due, why=wanted.why)
        return schedule.asked(looks, wanted.due), (asked,)

    def look(
        self, looks: Looks, record: PanelRecord, domains: tuple[str, ...], *, is_treated: bool
    ) -> Conclusion:
        """One more look. While an incident is treated it is kept, and nothing said of it."""
        is_old = bool(looks.marks) and record.step <= looks.marks[-1].step
        if record.version != looks.version or is_old or not any(record.tokens):
            return looks, ()
        now = whole_of(record)
        looks = msgspec.structs.replace(
            looks,
            marks=thin((*looks.marks, Mark(step=now.step, losses=now.means, since=looks.stretch))),
            stretch=Tally(),
            num_timed=looks.num_timed + (record.seconds is not None),
            look_seconds=looks.look_seconds + (record.seconds or 0.0),
        )
        present = [at for at, tokens in enumerate(record.tokens) if tokens]
        is_early = not looks.is_branch and now.step < self.settles
        if is_treated or is_early:
            return self._keep(looks, now), ()
        if not all(math.isfinite(now.means[at]) for at in present):
            return self._not_finite(looks, record, now, present, domains)
        looks, poor = compare_with_counting(looks, now, present)
        looks = self._heed(looks)
        values = [now.means[at] for at in present]
        steady = [trained(looks, at) for at in present]
        scores = self.drift.score(looks.course, now.step, values, steady=steady)
        glance = Glance(
            drift=self.drift,
            jitter=self.jitter,
            rises=self.rises,
            shows=self.shows,
            looks=looks,
            now=now,
            present=tuple(present),
            domains=domains,
            scores=scores,
        )
        looks, alarms = glance.ring(record.attempt)
        looks, told = self._explain(looks, glance)
        looks, settled = self._settle(looks, glance)
        looks, harder = self._harder(looks, glance)
        return self._keep(self._learn(looks, now, values, scores), now), (
            *poor,
            *alarms,
            *settled,
            *told,
            *harder,
        )

    def _heed(self, looks: Looks) -> Looks:
        """Looks after what happened are not of the old curve, even those learned already."""
        count = min(looks.num_happenings - looks.heeded, len(looks.happenings))
        news = [one for one in looks.happenings[-count:] if one.kind in MOVING] if count else []
        looks = msgspec.structs.replace(looks, heeded=looks.num_happenings)
        if not news:
            return looks
        return msgspec.structs.replace(
            looks,
            course=self.drift.hold(looks.course, after=min(one.step for one in news)),
            held=max(one.step for one in news),
        )

    def _learn(self, looks: Looks, now: Whole, values: list[float], scores: Scores) -> Looks:
        """The course after the look; a new curve begins when enough looks are aside."""
        before = looks.course
        is_held = looks.held is not None
        after = self.drift.learn(before, now.step, values, scores, is_held=is_held)
        if not after.steps or after.steps[0] <= (before.steps or (-1,))[-1] or after.aside:
            return msgspec.structs.replace(looks, course=after)
        return msgspec.structs.replace(looks, course=after, held=None, rung=(), pending=())

    def _explain(self, looks: Looks, glance: Glance) -> Conclusion:
        """Names for what rang, as soon as their evidence is there."""
        looks, told = self._revise(looks, glance)
        pending = []
        for one in looks.pending:
            name = glance.domains[one.domain]
            if not trends.is_covered(looks, one, name):
                pending.append(msgspec.structs.replace(one, looks=one.looks + 1))
        found = patterns.explain(glance.situation({p.domain: p.direction for p in pending}))
        for known in found:
            fresh = trends.unsaid(looks, known)
            if fresh is not None:
                looks, news = glance.open(looks, fresh)
                told = (*told, *news)
        named = {name for one in found for name in one.about}
        pending = [
            one
            for one in pending
            if glance.domains[one.domain] not in named
            and not trends.is_covered(looks, one, glance.domains[one.domain])
            and not trends.is_absorbed(looks, one)
        ]
        now = glance.situation({one.domain: one.direction for one in pending})
        limit = self.wait if now.has_event else 2
        for one in [one for one in pending if one.looks >= limit]:
            by_name = {domain.name: domain for domain in now.domains}
            what = patterns.unknown(now, by_name[glance.domains[one.domain]])
            looks, news = glance.open(looks, what)
            told = (*told, *news)
        left = tuple(one for one in pending if one.looks < limit)
        return msgspec.structs.replace(looks, pending=left), told

    def _revise(self, looks: Looks, glance: Glance) -> Conclusion:
        """What was not known may be known by now."""
        told: tuple[Judgment, ...] = ()
        for one in looks.open:
            if one.trend.pattern != causes.NOT_KNOWN:
                continue
            at = glance.domains.index(one.trend.domains[0])
            direction: Direction = "rise" if glance.z.get(at, 0.0) > 0 else "drop"
            for better in patterns.explain(glance.situation({at: direction})):
                gone = trends.outcome(
                    one, "gave way", glance.now.step, why=f"{better.pattern} explains it"
                )
                kept = tuple(other for other in looks.open if other is not one)
                looks, news = glance.open(msgspec.structs.replace(looks, open=kept), better)
                told = (*told, gone, *news)
        return looks, told

    def _settle(self, looks: Looks, glance: Glance) -> Conclusion:
        """What became of the open explanations."""
        told: tuple[Judgment, ...] = ()
        left: list[Open] = []
        oldest = glance.now.step - self.shows * glance.gap
        settled = tuple(one for one in looks.settled if (one.due or one.trend.step) > oldest)
        for one in looks.open:
            if one.trend.step >= glance.now.step:
                left.append(one)
                continue
            if one.trend.pattern == causes.NOT_KNOWN:
                # Nothing was expected, so nothing is settled; it is let go with its curve.
                if glance.now.step < one.trend.step + self.shows * glance.gap:
                    left.append(one)
                continue
            found = trends.settle(one, glance.progress(one))
            if isinstance(found, Open):
                left.append(found)
                continue
            result, why = found
            if result == "came true":
                settled = (*settled, one)
                if one.trend.pattern in (causes.STARVED, causes.LEARNING):
                    looks, advice = self._measure(looks, glance, one)
                    told = (*told, *advice)
            moves = glance.moves(one.anchor)
            told = (*told, trends.outcome(one, result, glance.now.step, why=why, moves=moves))
        looks = msgspec.structs.replace(
            looks, open=tuple(left[-MOST_OPEN:]), settled=settled[-MOST_OPEN:]
        )
        return looks, told

    def _measure(self, looks: Looks, glance: Glance, one: Open) -> Conclusion:
        """What a change of the mixture did, said once for each change."""
        known = {(effect.domain, effect.step) for effect in looks.effects}
        found = [one for one in glance.effects(one) if (one.domain, one.step) not in known]
        if not found:
            return looks, ()
        effects = (*looks.effects, *found)[-HAPPENINGS:]
        advice = mixing_advice(effects, glance.domains, glance.now.step)
        looks = msgspec.structs.replace(looks, effects=effects)
        return looks, (advice,) if advice is not None else ()

    def _harder(self, looks: Looks, glance: Glance) -> Conclusion:
        """Updates harder than before, twice in a row, with a flat panel and nothing heard."""
        now = glance.situation({})
        counts = looks.harder or (0,) * len(glance.domains)
        told: tuple[Judgment, ...] = ()
        after = []
        by_name = {one.name: one for one in now.domains}
        for at, count in enumerate(counts):
            one = by_name.get(glance.domains[at])
            is_harder = (
                one is not None
                and not now.has_event
                and looks.held is None
                and glance.is_harder(at, already=count)
                and abs(one.z) < patterns.CLEAR
            )
            count = count + 1 if is_harder else 0
            after.append(count)
            if count == 2 and one is not None and one.trained is not None:
                looks, news = glance.open(looks, patterns.harder(now, one))
                told = (*told, *news)
        return msgspec.structs.replace(looks, harder=tuple(after)), told

    def _not_finite(
        self,
        looks: Looks,
        record: PanelRecord,
        now: Whole,
        present: list[int],
        domains: tuple[str, ...],
    ) -> Conclusion:
        alarms = []
        for at in present:
            if math.isfinite(now.means[at]) or (at, "not finite") in looks.rung:
                continue
            before = looks.wholes[-1].means[at] if looks.wholes else math.nan
            looks = msgspec.structs.replace(looks, rung=(*looks.rung, (at, "not finite")))
            alarms.append(
                Alarm(
                    attempt=record.attempt, step=record.step, signal=f"panel:{domains[at]}",
                    direction="not finite", value=now.means[at], expected=before, score=math.inf,
                )
            )  # fmt: skip
        return looks, tuple(alarms)

    def _keep(self, looks: Looks, now: Whole) -> Looks:
        """Keep the newest looks whole, and those that something is compared with."""
        needed = {one.anchor for one in looks.open} | set(looks.course.steps[-1:])
        wholes = (*looks.wholes, now)
        kept = [one for one in wholes[:-WHOLE] if one.step in needed]
        return msgspec.structs.replace(looks, wholes=(*kept, *wholes[-WHOLE:]))
