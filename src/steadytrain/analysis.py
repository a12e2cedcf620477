"""What happened in a run that never heard of us: its log, watched from beginning to end.

    log -> readers -> table of rows -> Watch -> findings -> troubles with evidence

The same detector watches live runs, so a log says what the watch would have said.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from steadytrain import causes
from steadytrain.readers.roles import ROLES, Roles, assign
from steadytrain.readers.runs import LoggedRun
from steadytrain.readers.table import Table, tabulate
from steadytrain.watch import Finding, Watch

TOGETHER = 4
"""Findings of several signals at most so many rows apart are one trouble."""

BEFORE = 12
"""Rows before an onset in which a change of settings may be to blame."""

End = Literal["recovered", "new level", "rolled back", "lasting"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Hint:
    """A cause that a log can speak for: evidence for it, and what speaks against it."""

    cause: str
    evidence_for: tuple[str, ...]
    evidence_against: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """Findings that belong together.

    Attributes:
        kind: of the leading finding; `signal`, `value`, `expected`, `score`: its farthest point.
        signals: all that rang; `domains`: those among them.
        onset, step, last: first affected step, step of the first ring, step of the newest ring.
        first_row, last_row: rows of the table from the first ring to the newest.
        end: "lasting" where the log ends before it did.
        hints: probable causes, best first.
        look_at: what to look at next.
    """

    kind: str
    signal: str
    value: float
    expected: float
    score: float
    signals: tuple[str, ...]
    domains: tuple[str, ...]
    onset: int
    step: int
    last: int
    first_row: int
    last_row: int
    end: End
    hints: tuple[Hint, ...]
    look_at: str

    @property
    def rows(self) -> int:
        """How long it rang."""
        return self.last_row - self.first_row + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Analysis:
    """One run, analyzed.

    Attributes:
        table: the watched rows, under the names of their signals.
        tags: signal -> the tag it was logged under.
    """

    name: str
    format: str
    source: str
    remarks: tuple[str, ...]
    tags: Mapping[str, str]
    table: Table
    troubles: tuple[Trouble, ...]

    def plain(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return {
            "run": self.name,
            "format": self.format,
            "source": self.source,
            "remarks": list(self.remarks),
            "signals": dict(self.tags),
            "rows": len(self.table.steps),
            "first_step": int(self.table.steps[0]),
            "last_step": int(self.table.steps[-1]),
            "troubles": [_plain(one) for one in self.troubles],
        }


def analyze(
    run: LoggedRun,
    *,
    given: Mapping[str, str] | None = None,
    steps_per_false_alarm: float = 30_000.0,
) -> Analysis:
    """Watch the log of a run from its first row to its last.

    Args:
        given: role or domain -> tag, where tags do not say it.

    Raises:
        LogError: no series is a loss, or a tag that was given is not there.
    """
    roles = assign(run.series, given)
    tags = _signals(roles)
    table = tabulate(
        {name: run.series[tag] for name, tag in tags.items()},
        leader=max(tags, key=lambda name: (name == "loss", len(run.series[tags[name]].steps))),
    )
    watch = Watch(steps_per_false_alarm=steps_per_false_alarm)
    findings = watch.update_many(table.steps, table.columns)
    ends = [one for one in findings if one.change == "ended"] + watch.open_findings()
    troubles = tuple(_trouble(group, table) for group in _groups(ends, table))
    return Analysis(
        name=run.name, format=run.format, source=str(run.source), remarks=run.remarks,
        tags={name: tag for name, tag in tags.items() if not name.startswith("tokens:")},
        table=table, troubles=troubles,
    )  # fmt: skip


def _signals(roles: Roles) -> dict[str, str]:
    """Column name -> tag."""
    found = {role: getattr(roles, role) for role in ROLES}
    found |= {f"loss:{name}": tag for name, tag in roles.domains.items()}
    found |= {f"tokens:{name}": tag for name, tag in roles.tokens.items()}
    return {name: tag for name, tag in found.items() if tag is not None}


def _groups(findings: Sequence[Finding], table: Table) -> list[list[Finding]]:
    """Findings whose times touch, in the order of their onsets."""
    groups: list[list[Finding]] = []
    until = 0
    for one in sorted(findings, key=lambda one: one.row):
        if groups and one.row - _rows_between(table, one) <= until + TOGETHER:
            groups[-1].append(one)
            until = max(until, one.last_row)
        else:
            groups.append([one])
            until = one.last_row
    return groups


def _rows_between(table: Table, one: Finding) -> int:
    """Rows from the onset to the first ring."""
    back = min(64, one.row)
    steps = table.steps[one.row - back : one.row + 1]
    return int(np.count_nonzero(steps > one.onset)) if one.onset < one.step else 0


def _trouble(group: list[Finding], table: Table) -> Trouble:
    lead = max(group, key=_weight)
    first = min(group, key=lambda one: one.row)
    last_row = max(one.last_row for one in group)
    signals = tuple(dict.fromkeys(one.signal for one in sorted(group, key=_weight, reverse=True)))
    domains = tuple(name[5:] for name in signals if name.startswith("loss:"))
    ends = {one.end or "lasting" for one in group if one.signal == lead.signal}
    end: End = next(
        one for one in ("lasting", "new level", "rolled back", "recovered") if one in ends
    )
    hints = _hints(lead, group, table)
    return Trouble(
        kind=lead.kind,
        signal=lead.signal,
        value=lead.value,
        expected=lead.expected,
        score=lead.score,
        signals=signals,
        domains=domains,
        onset=min(one.onset for one in group),
        step=first.first,
        last=int(table.steps[last_row]),
        first_row=first.row,
        last_row=last_row,
        end=end,
        hints=hints,
        look_at=_next_look(hints[0].cause, lead, domains),
    )


def _weight(one: Finding) -> tuple[bool, bool, bool, float]:
    """What leads a trouble: what is not finite, then the total loss, then a domain, by distance."""
    distance = abs(one.score) if math.isfinite(one.score) else math.inf
    return one.kind == "not finite", one.signal == "loss", one.signal.startswith("loss"), distance


def _hints(lead: Finding, group: list[Finding], table: Table) -> tuple[Hint, ...]:
    """Causes that this log speaks for, in the order of how much it says."""
    found = [_rate(lead, table), _went_back(lead, table), _overflow(lead, group)]
    found += [_bad_data(lead, group, table), _instability(lead, group)]
    hints = tuple(one for one in found if one is not None)
    if hints:
        return hints
    return (
        Hint(
            cause=causes.NOT_KNOWN,
            evidence_for=("the log holds nothing else that changed with it",),
        ),
    )


def _rate(lead: Finding, table: Table) -> Hint | None:
    rates = table.columns.get("lr")
    if rates is None:
        return None
    near = rates[max(0, lead.row - BEFORE) : lead.row + 1].compressed()
    near = near[near > 0]
    if len(near) < 3:
        return None
    change = float(near.max() / near[0]) if near.max() > near[0] else float(near[0] / near.min())
    if change < 1.3:
        return None
    rose = near.max() > near[0]
    return Hint(
        cause=causes.LEARNING_RATE,
        evidence_for=(
            f"the learning rate {'rose' if rose else 'fell'} by x{change:.2g} within {BEFORE} rows "
            "before it",
        ),
        evidence_against=() if rose else ("a falling learning rate seldom harms",),
    )


def _went_back(lead: Finding, table: Table) -> Hint | None:
    steps = table.steps[max(0, lead.row - BEFORE) : lead.row + 1]
    back = np.flatnonzero(np.diff(steps) <= 0)
    if not len(back):
        return None
    at = int(back[-1])
    return Hint(
        cause="restart",
        evidence_for=(
            f"the run went back from step {steps[at]} to {steps[at + 1]} just before it: optimizer "
            "state, data order or learning rate may not have been restored",
        ),
    )


def _overflow(lead: Finding, group: list[Finding]) -> Hint | None:
    if lead.kind != "not finite":
        return None
    odd = ", ".join(one.signal for one in group if one.kind == "not finite")
    return Hint(cause=causes.OVERFLOW, evidence_for=(f"not finite: {odd}",))


def _bad_data(lead: Finding, group: list[Finding], table: Table) -> Hint | None:
    """One domain alone, one batch alone, or a drop: it is in the data."""
    rang = {one.signal for one in group if one.signal.startswith("loss:")}
    domains = [name for name in table.columns if name.startswith("loss:")]
    evidence: list[str] = []
    if rang and len(domains) > len(rang):
        names = ", ".join(sorted(name[5:] for name in rang))
        evidence.append(f"only {names} of {len(domains)} domains left its band")
    if lead.kind == "drop":
        evidence.append(
            "a loss that falls abruptly is seldom learning: repeated, empty or seen text"
        )
    if lead.kind == "outlier batch":
        evidence.append("one point, and the next ones are normal")
    if lead.kind == "level shift":
        evidence.append("the loss stands still at a new level, as it does on other data")
    if not evidence:
        return None
    single = lead.kind == "outlier batch" and not (rang and len(domains) > len(rang))
    return Hint(
        cause=causes.HARD_BATCH if single else causes.BAD_TEXT,
        evidence_for=tuple(evidence),
        evidence_against=("the log has no texts to prove it",),
    )


def _instability(lead: Finding, group: list[Finding]) -> Hint | None:
    if lead.kind not in ("spike", "slow divergence"):
        return None
    norms = [one for one in group if not one.signal.startswith("loss") and one is not lead]
    evidence = [
        f"{one.signal} {'led' if one.step < lead.step else 'rose with'} it: {one.value:.4g} where "
        f"{one.expected:.4g} was expected"
        for one in norms
    ]
    if lead.kind == "slow divergence":
        evidence.append("the loss creeps up over many points without a jump")
    elif not lead.signal.startswith("loss"):
        evidence.append(f"{lead.signal} alone: every loss stayed in its band")
    elif not evidence:
        evidence.append("several points are off, not one batch")
    return Hint(cause=causes.INSTABILITY, evidence_for=tuple(evidence))


def _next_look(cause: str, lead: Finding, domains: tuple[str, ...]) -> str:
    match cause:
        case causes.BAD_TEXT | causes.HARD_BATCH if domains:
            return (
                f"the sequences of {', '.join(domains)} in the batches of steps {lead.onset} to "
                f"{lead.last}"
            )
        case causes.BAD_TEXT | causes.HARD_BATCH:
            return f"the sequences in the batches of steps {lead.onset} to {lead.last}"
        case causes.LEARNING_RATE:
            return "what changed the learning rate: a schedule, a resume, a hand"
        case causes.OVERFLOW:
            return f"the batch of step {lead.onset}, loss scale, and the last good checkpoint"
        case "restart":
            return "whether optimizer state, step counter, data order and schedule were restored"
        case causes.INSTABILITY:
            return (
                "gradient norms of the shallow layers, attention logits, Adam's epsilon; a "
                f"checkpoint from before step {lead.onset}"
            )
    return f"what changed near step {lead.onset}: data, settings, hardware"


def _plain(trouble: Trouble) -> dict[str, Any]:
    fields = {name: getattr(trouble, name) for name in Trouble.__slots__}
    fields["hints"] = [
        {"cause": one.cause, "for": one.evidence_for, "against": one.evidence_against}
        for one in trouble.hints
    ]
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in fields.items()
    }
