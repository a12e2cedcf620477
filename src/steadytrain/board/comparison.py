"""Two runs beside each other: what differs, what came of it, and what cannot be compared."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from steadytrain.board.blocks import Block, Cell, Heading, Item, Items, Pictures, Table, Text
from steadytrain.board.charts import Line, chart
from steadytrain.board.page import WORDS
from steadytrain.board.record import Record
from steadytrain.board.series import Floats, collect
from steadytrain.board.settings import settings
from steadytrain.events import (
    AttemptBegan,
    Diagnosis,
    Incident,
    Outcome,
    PanelRecord,
    StepRecord,
)
from steadytrain.goodput_words import part_words
from steadytrain.panel_words import HEADS, change_words, figure
from steadytrain.perplexity import gather, view_of
from steadytrain.phrases import phrase
from steadytrain.spans import span
from steadytrain.stats.paired import Z_95, window_interval
from steadytrain.stats.sums import DomainSums
from steadytrain.stints import PARTS

LAST = 50
"""Updates over which a training loss is taken: a step's own loss is mostly the noise of its batch.
Source: guess."""

NEAR = 0.01
"""Two looks are of one point if their tokens differ by less than this share."""


@dataclass(frozen=True, slots=True)
class Side:
    """A run's surviving branch.

    Attributes:
        steps: its updates, by step; `tokens`: trained on up to and with each of them.
    """

    name: str
    record: Record
    steps: tuple[StepRecord, ...]
    tokens: Floats

    def tokens_at(self, step: int) -> float:
        """Tokens up to and with a step; 0 before the first."""
        at = int(np.searchsorted([one.step for one in self.steps], step, side="right"))
        return float(self.tokens[at - 1]) if at else 0.0


def comparison(one: Record, other: Record, lang: str) -> list[Block]:
    """The whole report of two runs."""
    words = WORDS[lang]
    is_same = one.name == other.name  # then their folders tell them apart
    a, b = (_side(each, str(each.home) if is_same else each.name) for each in (one, other))
    shared = [name for name in a.record.began.domains if name in b.record.began.domains]
    missing: list[str] = []
    losses = _losses(a, b, shared, words, missing)
    panel = _panel(a, b, lang, missing)
    blocks: list[Block] = [
        Heading(1, words["versus"].format(a=a.name, b=b.name)),
        Text(_verdict(a, b, shared, words), "verdict"),
        _heads(a, b, words),
        Heading(2, words["settings"]),
        _settings(a, b, words),
        Heading(2, words["mixture"]),
        _mixture(a, b, words),
        *losses,
        *panel,
        Heading(2, words["counts"]),
        _counts(a, b, lang),
        Heading(2, words["account"]),
        _accounts(a, b, lang),
    ]
    for name, domains in ((a.name, _only(a, b)), (b.name, _only(b, a))):
        if domains:
            missing.append(words["only_in"].format(name=name, domains=", ".join(domains)))
    if missing:
        items = [Item(text) for text in missing]
        blocks += [Heading(2, words["not_compared"]), Items(items, is_ordered=False)]
    return blocks


def _side(record: Record, name: str) -> Side:
    kept: dict[int, StepRecord] = {}
    for event in record.events:
        if isinstance(event, StepRecord):
            kept[event.step] = event
        elif isinstance(event, AttemptBegan):
            kept = {step: one for step, one in kept.items() if step <= event.step}
    steps = tuple(kept[step] for step in sorted(kept))
    return Side(name, record, steps, np.cumsum([float(sum(one.tokens)) for one in steps]))


def _only(a: Side, b: Side) -> list[str]:
    return [name for name in a.record.began.domains if name not in b.record.began.domains]


def _verdict(a: Side, b: Side, shared: Sequence[str], words: dict[str, str]) -> str:
    count = _common(a, b)
    found = None
    if count and shared:
        found = _difference(_before(a, count), _before(b, count), a, b, shared)
    if found is None:
        return words["verdict_none"]
    mean, half = found
    good = [f"{side.record.account.goodput or 0.0:.1%}" for side in (a, b)]
    is_told = abs(mean) > half
    return words["verdict_versus" if is_told else "verdict_same"].format(
        a=a.name, b=b.name, by=f"{abs(mean):.4f}", how=words["higher" if mean > 0 else "lower"],
        low=f"{mean - half:+.4f}", high=f"{mean + half:+.4f}", good_a=good[0], good_b=good[1],
    )  # fmt: skip


def _heads(a: Side, b: Side, words: dict[str, str]) -> Table:
    rows = [["", a.name, b.name]]
    sides = (a, b)
    rows += [
        [words["steps"], *(f"{side.steps[-1].step:,}" if side.steps else "0" for side in sides)],
        [words["tokens"], *(f"{side.record.account.tokens:,}" for side in sides)],
        [words["parameters"], *(f"{side.record.began.parameters:,}" for side in sides)],
    ]
    return Table(rows, has_numbers=True)


def _settings(a: Side, b: Side, words: dict[str, str]) -> Block:
    """What a journal says of how a run was set up, where the two differ."""
    found = settings(a.record), settings(b.record)
    rows = [[words["setting"], a.name, b.name]]
    for key in sorted(found[0].keys() | found[1].keys()):
        values = [side.get(key, "-") for side in found]
        if values[0] != values[1]:
            rows.append([key, *values])
    return Table(rows) if len(rows) > 1 else Text(words["same_settings"])


def _mixture(a: Side, b: Side, words: dict[str, str]) -> Table:
    """Shares of the tokens, domain by domain."""
    rows = [[words["domains"], a.name, b.name]]
    shares = [_shares(side) for side in (a, b)]
    for name in dict.fromkeys([*a.record.began.domains, *b.record.began.domains]):
        rows.append([name, *(f"{side[name]:.1%}" if name in side else "-" for side in shares)])
    return Table(rows, has_numbers=True)


def _shares(side: Side) -> dict[str, float]:
    domains = side.record.began.domains
    sums = np.array([one.tokens for one in side.steps], dtype=np.float64).reshape(-1, len(domains))
    total = sums.sum()
    return dict(zip(domains, sums.sum(0) / total if total else sums.sum(0), strict=True))


def _losses(
    a: Side, b: Side, shared: Sequence[str], words: dict[str, str], missing: list[str]
) -> list[Block]:
    """Training losses where both had seen as many tokens, and where both had made as many steps."""
    count = _common(a, b)
    if not count or not shared:
        missing.append(words["no_common"])
        return []
    blocks: list[Block] = []
    what = words["equal_tokens"].format(count=round(count))
    blocks += [Heading(2, words["training_loss"].format(what=what))]
    blocks.append(Pictures([_drawn(a, b, name, words) for name in shared]))
    blocks.append(_table(_before(a, count), _before(b, count), a, b, shared, words))
    per = [side.tokens[-1] / len(side.steps) for side in (a, b)]
    if abs(per[0] - per[1]) > 1e-9 * per[0]:
        step = min(a.steps[-1].step, b.steps[-1].step)
        what = words["equal_steps"].format(count=step)
        own = [[one for one in side.steps if one.step <= step] for side in (a, b)]
        blocks += [
            Heading(3, words["training_loss"].format(what=what)),
            _table(own[0], own[1], a, b, shared, words),
        ]
        missing.append(words["other_tokens"].format(a=a.name, b=b.name, per_a=per[0], per_b=per[1]))
    return [*blocks, Text(words["loss_note"].format(count=LAST), "small")]


def _common(a: Side, b: Side) -> float:
    """The most tokens that both were trained on."""
    return float(min(side.tokens[-1] if side.steps else 0.0 for side in (a, b)))


def _before(side: Side, tokens: float) -> list[StepRecord]:
    end = int(np.searchsorted(side.tokens, tokens * (1 + 1e-9), side="right"))
    return list(side.steps[:end])


def _table(
    own: Sequence[StepRecord], others: Sequence[StepRecord], a: Side, b: Side,
    shared: Sequence[str], words: dict[str, str],
) -> Table:  # fmt: skip
    rows = [[words["domains"], a.name, b.name, words["difference"], words["told"]]]
    for name in [*shared, None]:
        names = [name] if name is not None else list(shared)
        found = _difference(own, others, a, b, names)
        if found is None:
            continue
        means = [_mean(side, steps, names).loss for side, steps in ((a, own), (b, others))]
        mean, half = found
        told = words["yes" if abs(mean) > half else "no"]
        moved = f"{mean:+.4f} [{mean - half:+.4f}, {mean + half:+.4f}]"
        rows.append([name or words["whole"], *(f"{one:.4f}" for one in means), moved, told])
    return Table(rows, has_numbers=True)


def _difference(
    own: Sequence[StepRecord], others: Sequence[StepRecord], a: Side, b: Side, names: Sequence[str]
) -> tuple[float, float] | None:
    """Difference of the mean losses, not paired, and half of its 95 % interval. [nats/token]"""
    found = [window_interval(_mean(side, steps, names)) for side, steps in ((a, own), (b, others))]
    if found[0] is None or found[1] is None:
        return None
    mean = found[0].loss - found[1].loss
    half = Z_95 * math.hypot(found[0].error, found[1].error)
    return (mean, half) if math.isfinite(mean) and math.isfinite(half) else None


def _mean(side: Side, steps: Sequence[StepRecord], names: Sequence[str]) -> DomainSums:
    """Sums of the last updates, those that are no numbers left out."""
    domains = side.record.began.domains
    total = DomainSums()
    for one in steps[-LAST:]:
        for at in (domains.index(name) for name in names):
            if math.isfinite(one.nll[at]) and math.isfinite(one.squares[at]):
                total = total + DomainSums(
                    nll=one.nll[at], tokens=one.tokens[at], bytes=one.bytes[at],
                    sequences=one.sequences[at], squares=one.squares[at],
                )  # fmt: skip
    return total


def _drawn(a: Side, b: Side, name: str, words: dict[str, str]) -> str:
    lines = []
    for colour, side in enumerate((a, b)):
        domains = side.record.began.domains
        values = collect(side.steps, domains).series[f"loss:{name}"]
        if np.isfinite(values).any():
            lines.append(Line(name=side.name, x=side.tokens, y=values, colour=colour))
    return chart(f"{words['loss']}: {name} ({words['tokens']})", lines)


def _panel(a: Side, b: Side, lang: str, missing: list[str]) -> list[Block]:
    """The same sequences under both models, paired."""
    words = WORDS[lang]
    looks = [gather(side.record.events) for side in (a, b)]
    for side, found in zip((a, b), looks, strict=True):
        if not found.records:
            missing.append(words["panel_missing"].format(name=side.name))
    if not all(found.records for found in looks):
        return []
    known = {drawn.tokenizer for found in looks for drawn in found.drawn[-1:] if drawn.tokenizer}
    if len(known) > 1:
        missing.append(words["other_text"])
        return []
    pair = _near(a, b, looks[0].records, looks[1].records)
    if pair is None:
        missing.append(words["no_near_look"].format(a=a.name, b=b.name))
        return []
    digests = [
        drawn.digest if drawn is not None else side.record.began.panel or "?"
        for side, drawn in zip(
            (a, b), (looks[0].panel(pair[0].version), looks[1].panel(pair[1].version)), strict=True
        )
    ]
    if digests[0] != digests[1] or a.record.began.domains != b.record.began.domains:
        shown = [one[:12] for one in digests]
        missing.append(words["other_panel"].format(a=shown[0], b=shown[1]))
        return []
    mine = view_of(looks[0], pair[0], pair[1])
    heads = HEADS[lang]
    rows: list[list[Cell | str]] = [
        [heads["domain"], a.name, b.name, words["difference"], words["told"]]
    ]
    theirs = {one.node.name: one.interval for one in view_of(looks[1], pair[1], None).readings}
    for one in mine.readings:
        other = theirs.get(one.node.name)
        if one.interval is None or other is None or one.since is None:
            continue
        told = words["yes" if one.since.is_told else "no"]
        rows.append(
            [
                "\u2003" * one.node.depth + one.node.label,
                figure(one.interval.perplexity, lang),
                figure(other.perplexity, lang),
                change_words(one.since, lang),
                told,
            ]
        )
    note = words["panel_note"].format(
        count=sum(map(len, pair[0].losses)), a=a.name, b=b.name,
        step_a=pair[0].step, step_b=pair[1].step,
        tokens_a=round(a.tokens_at(pair[0].step)), tokens_b=round(b.tokens_at(pair[1].step)),
    )  # fmt: skip
    return [Heading(2, words["panel_paired"]), Text(note, "small"), Table(rows, has_numbers=True)]


def _near(
    a: Side, b: Side, own: Sequence[PanelRecord], others: Sequence[PanelRecord]
) -> tuple[PanelRecord, PanelRecord] | None:
    """The latest two looks after about as many tokens; else the latest two at one step."""
    mine = [(a.tokens_at(one.step), one) for one in own]
    theirs = [(b.tokens_at(one.step), one) for one in others]
    near = [
        (min(x, y), one, other)
        for x, one in mine
        for y, other in theirs
        if abs(x - y) <= NEAR * max(x, y)
    ]
    if not near:
        near = [(one.step, one, other) for one in own for other in others if one.step == other.step]
    if not near:
        return None
    _, one, other = max(near, key=lambda each: each[0])
    return one, other


def _counts(a: Side, b: Side, lang: str) -> Table:
    words = WORDS[lang]
    rows = [["", a.name, b.name]]
    for key, told in (
        ("opened", _opened),
        ("cured", _cured),
        ("undone", _undone),
        ("failures", _failures),
    ):
        rows.append([words[key], told(a.record), told(b.record)])
    rows.append([words["causes"], _causes(a.record, lang), _causes(b.record, lang)])
    return Table(rows)


def _opened(record: Record) -> str:
    return str(sum(one.change == "opened" for one in record.of(Incident)))


def _cured(record: Record) -> str:
    return str(len({one.incident for one in record.of(Outcome) if one.result == "cured"}))


def _undone(record: Record) -> str:
    return f"{record.account.updates_lost:,}"


def _failures(record: Record) -> str:
    return str(record.account.failures)


def _causes(record: Record, lang: str) -> str:
    last = {one.incident: one.causes[0].name for one in record.of(Diagnosis)}
    names = list(last.values())
    return ", ".join(f"{phrase(name, lang)} {names.count(name)}" for name in dict.fromkeys(names))


def _accounts(a: Side, b: Side, lang: str) -> Table:
    words = WORDS[lang]
    found = [side.record.account for side in (a, b)]
    rows = [[words["part"], a.name, b.name]]
    for part in PARTS:
        if any(one.seconds[part] > 0 for one in found):
            shown = (f"{span(one.seconds[part], lang)} ({one.share(part):.1%})" for one in found)
            rows.append([part_words(part, lang), *shown])
    rows.append([words["whole"], *(span(one.wall, lang) for one in found)])
    speed = [one.tokens / one.wall if one.wall else 0.0 for one in found]
    rows.append([f"{words['tokens']} / {words['time']}", *(f"{one:,.0f}/s" for one in speed)])
    return Table(rows, has_numbers=True)
