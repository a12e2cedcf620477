"""A run's fixed panel in numbers, from its journal: perplexity, intervals, changes.

Only looks that lie on the run's present trajectory count: what a rollback gave up is forgotten.
Only looks at one version of the panel are compared.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from steadytrain import journal
from steadytrain.errors import JournalError, SettingError
from steadytrain.events import (
    Advice,
    Event,
    PanelDrawn,
    PanelRecord,
    RemedyDone,
    RunBegan,
    StepRecord,
    Trend,
)
from steadytrain.stats.hierarchy import Node, tree, weighted_change, weighted_interval
from steadytrain.stats.jitter import FLOOR, MOST_LOOKS, jitter
from steadytrain.stats.paired import (
    FLOOR_SEQUENCES,
    Change,
    Interval,
    change,
    interval,
    window_interval,
)
from steadytrain.stats.sums import DomainSums
from steadytrain.stories import Story, stories

State = Literal["absent", "not finite", "few", "wide", "good"]
"""Of a reading: no sequences; a loss that is no number; fewer than 30 sequences; an interval wider
than +5 %; none of them."""

NAMED_STEPS = 12
"""Steps that an error lists."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Looks:
    """What is on record of a panel.

    Attributes:
        records: on the present trajectory, by step, of all versions.
        given_up: looks that a rollback took back.
        drawn: the panel's versions, as far as they are on record.
        updates: committed steps of the present trajectory, by step.
        stories: each explanation of a movement, with what became of it.
        advice: what a domain's share is worth, as said last.
    """

    run: str
    domains: tuple[str, ...]
    records: tuple[PanelRecord, ...] = ()
    given_up: int = 0
    drawn: tuple[PanelDrawn, ...] = ()
    updates: tuple[StepRecord, ...] = ()
    stories: tuple[Story, ...] = ()
    advice: str = ""

    def version(self, number: int) -> tuple[PanelRecord, ...]:
        """Looks at one version, by step."""
        return tuple(one for one in self.records if one.version == number)

    def panel(self, number: int) -> PanelDrawn | None:
        return next((one for one in self.drawn if one.version == number), None)

    def lengths(self, record: PanelRecord, domain: int) -> tuple[int, ...] | None:
        """Tokens of each sequence of a look; None where they are not on record."""
        drawn = self.panel(record.version)
        found = drawn.lengths[domain] if drawn and domain < len(drawn.lengths) else ()
        return found if len(found) == len(record.losses[domain]) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A domain, or a node of several, in one look.

    Attributes:
        interval: its loss, as of all its text together (micro average).
        macro: mean of its children alike; None for a domain.
        bits, bits_low, bits_high: bits per byte of the original text, with the interval's ends;
            None where no bytes are on record.
        training: loss in training since the look before, on other text.
        since: change against the look that was asked for, paired; None where there is none.
        last: change against the look before.
        jitter: of its looks about their trend [nats/token]; an assumed least if not `knows_jitter`.
        unfit: sequences whose loss is not finite.
    """

    node: Node
    state: State
    interval: Interval | None = None
    macro: Interval | None = None
    bits: float | None = None
    bits_low: float | None = None
    bits_high: float | None = None
    training: Interval | None = None
    since: Change | None = None
    last: Change | None = None
    jitter: float = FLOOR
    knows_jitter: bool = False
    unfit: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One look at the panel, against two others.

    Attributes:
        record: the look.
        against, before: looks that it is compared with; None if there is none.
        readings: parents before children.
        past: the looks of this version up to this one, by step.
    """

    looks: Looks
    record: PanelRecord
    against: PanelRecord | None
    before: PanelRecord | None
    readings: tuple[Reading, ...]
    past: tuple[PanelRecord, ...]


def read(home: Path) -> Looks:
    """What the journal of a run tells of its panel.

    Raises:
        JournalError: the home holds no run, or its journal cannot be read.
    """
    events = journal.load(Path(home), "rank0")
    if not any(isinstance(one, RunBegan) for one in events):
        raise JournalError(
            f"{home} holds no journal of a run, so there is no panel to show. "
            "Give the folder that the run was started with, such as runs/r1."
        )
    return gather(events)


def gather(events: Iterable[Event]) -> Looks:
    """The same from events in the order of the journal; the first of them is `RunBegan`."""
    run, domains = "", tuple[str, ...]()
    records: dict[tuple[int, int], PanelRecord] = {}
    updates: dict[int, StepRecord] = {}
    drawn: dict[int, PanelDrawn] = {}
    explained: list[Trend] = []
    advice = ""
    given_up = 0
    for event in events:
        match event:
            case RunBegan():
                run, domains = event.run, event.domains
            case PanelDrawn():
                drawn[event.version] = event
            case PanelRecord():
                records[event.version, event.step] = event
            case StepRecord() if event.committed:
                updates[event.step] = event
            case Trend():
                explained.append(event)
            case Advice(topic="mixing"):
                advice = event.text
            case RemedyDone() if event.restored_step is not None:
                kept = {key: one for key, one in records.items() if one.step <= event.step}
                given_up += len(records) - len(kept)
                records = kept
                updates = {step: one for step, one in updates.items() if step <= event.step}
    return Looks(
        run=run,
        domains=domains,
        records=tuple(sorted(records.values(), key=lambda one: (one.step, one.version))),
        given_up=given_up,
        drawn=tuple(drawn[number] for number in sorted(drawn)),
        updates=tuple(updates[step] for step in sorted(updates)),
        stories=stories(explained),
        advice=advice,
    )


def view(looks: Looks, *, step: int | None = None, against: int | None = None) -> View:
    """A look at the panel, compared with another one and with the one before.

    Args:
        step: of the look; None for the newest.
        against: step of the look to compare with; None for the first of the same version.

    Raises:
        SettingError: there is no look, or none at that step.
    """
    if not looks.records:
        raise SettingError(
            f"the run {looks.run} has no look at a panel on record, so it has no perplexity to "
            "show. Give its Session panel=Panel(...), or wait for the first look."
        )
    record = looks.records[-1] if step is None else find(looks.records, step, "--step")
    past = looks.version(record.version)
    if against is not None:
        return view_of(looks, record, find(past, against, "--against"))
    return view_of(looks, record, past[0] if past[0].step < record.step else None)


def view_of(looks: Looks, record: PanelRecord, against: PanelRecord | None) -> View:
    """The same of any look at the run's panel, on record or not."""
    past = tuple(one for one in looks.version(record.version) if one.step <= record.step)
    before = next((one for one in reversed(past) if one.step < record.step), None)
    present = [index for index, losses in enumerate(record.losses) if losses]
    trained = _trained(looks, before.step if before else 0, record.step)
    readings = []
    for node in tree([looks.domains[index] for index in present]):
        # From here on its leaves are places among all domains of the run.
        placed = replace(node, leaves=tuple(present[k] for k in node.leaves))
        found = _reading(looks, record, past[-MOST_LOOKS:], placed)
        readings.append(
            replace(
                found,
                training=_training([trained[k] for k in placed.leaves], record, placed),
                since=_change(looks, against, record, placed, found.jitter),
                last=_change(looks, before, record, placed, found.jitter),
            )
        )
    for index, name in enumerate(looks.domains):
        if index not in present:
            alone = Node(name=name, label=name, depth=0, leaves=(index,), shares=(1.0,))
            readings.append(
                Reading(node=alone, state="absent", training=window_interval(trained[index]))
            )
    return View(
        looks=looks,
        record=record,
        against=against,
        before=before,
        readings=tuple(readings),
        past=past,
    )


def find(records: Sequence[PanelRecord], step: int, option: str) -> PanelRecord:
    """The look at a step.

    Raises:
        SettingError: there is none.
    """
    found = [one for one in records if one.step == step]
    if found:
        return found[-1]
    near = sorted({one.step for one in records}, key=lambda one: abs(one - step))[:NAMED_STEPS]
    steps = ", ".join(str(one) for one in sorted(near))
    raise SettingError(
        f"{option} {step}: the panel was not looked at there, so nothing is known of that step. "
        f"Write one of these, or measure a checkpoint with --checkpoint: {steps}."
    )


def series(view: View, node: Node) -> tuple[Interval | None, ...]:
    """A node's interval in each look of `view.past`; None where it has no sequences."""
    return tuple(_interval(view.looks, record, node) for record in view.past)


def _reading(looks: Looks, record: PanelRecord, past: Sequence[PanelRecord], node: Node) -> Reading:
    found = _interval(looks, record, node)
    assert found is not None
    known = [(one.step, there) for one in past if (there := _interval(looks, one, node))]
    # Two finished models are compared as they are; only a run jumps from look to look.
    assumed = FLOOR if past else 0.0
    estimate = jitter([step for step, _ in known], [there.loss for _, there in known])
    tokens = sum(record.tokens[k] for k in node.leaves)
    num_bytes = sum(record.bytes[k] for k in node.leaves)
    # Bits of a nat per token, in bytes of text per token: as sure as the loss is.
    scale = tokens / (math.log(2) * num_bytes) if num_bytes else math.nan
    has_bits = math.isfinite(scale)
    unfit = sum(not math.isfinite(loss) for k in node.leaves for loss in record.losses[k])
    return Reading(
        node=node,
        state=_state(found, unfit),
        interval=found,
        macro=None if node.is_leaf else weighted_interval(_parts(looks, record, node), node.shares),
        bits=found.loss * scale if has_bits else None,
        bits_low=(found.loss - found.half) * scale if has_bits else None,
        bits_high=(found.loss + found.half) * scale if has_bits else None,
        jitter=assumed if estimate is None else estimate,
        knows_jitter=estimate is not None,
        unfit=unfit,
    )


def _parts(looks: Looks, record: PanelRecord, node: Node) -> list[Interval]:
    return [
        interval(record.losses[k], looks.lengths(record, k))
        for k in node.leaves
        if record.losses[k]
    ]


def _interval(looks: Looks, record: PanelRecord, node: Node) -> Interval | None:
    parts = _parts(looks, record, node)
    if len(parts) < 2:
        return parts[0] if parts else None
    return weighted_interval(parts, _tokens(record, node))


def _change(
    looks: Looks, old: PanelRecord | None, new: PanelRecord, node: Node, size: float
) -> Change | None:
    """The paired change; None where the looks do not hold the same sequences."""
    if old is None or any(len(old.losses[k]) != len(new.losses[k]) for k in node.leaves):
        return None
    parts = [
        change(old.losses[k], new.losses[k], tokens=looks.lengths(new, k), jitter=size)
        for k in node.leaves
    ]
    if len(parts) == 1:
        return parts[0]
    return weighted_change(parts, _tokens(new, node), jitter=size)


def _trained(looks: Looks, first: int, last: int) -> list[DomainSums]:
    """What was trained on between two looks, per domain; other text than the panel's."""
    found = [DomainSums()] * len(looks.domains)
    for one in looks.updates:
        if not first < one.step <= last:
            continue
        for k, sums in enumerate(found):
            found[k] = sums + DomainSums(
                nll=one.nll[k],
                tokens=one.tokens[k],
                bytes=one.bytes[k],
                sequences=one.sequences[k],
                squares=one.squares[k],
            )
    return found


def _training(trained: Sequence[DomainSums], record: PanelRecord, node: Node) -> Interval | None:
    """Its loss, domains weighted as in the panel; None if one of them was not trained on."""
    parts = [one for sums in trained if (one := window_interval(sums))]
    if len(parts) < len(trained):
        return None
    return parts[0] if node.is_leaf else weighted_interval(parts, _tokens(record, node))


def _tokens(record: PanelRecord, node: Node) -> list[int]:
    return [record.tokens[k] for k in node.leaves if record.losses[k]]


def _state(found: Interval, unfit: int) -> State:
    if unfit:
        return "not finite"
    if found.sequences < FLOOR_SEQUENCES:
        return "few"
    return "wide" if found.is_too_weak else "good"
