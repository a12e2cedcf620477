"""Runs in the text format of Prometheus: `steadytrain status --metrics`, the board's /metrics.

Labels are bounded: run, domain (the first 64), state, cause, result, channel, part; never a step, a
sequence or an incident's id. Times are of this host's clock; what is not known is left out.

Source: prometheus.io "Exposition formats" 0.0.4 and "Metric and label naming".
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

from steadytrain import causes
from steadytrain.stints import PARTS
from steadytrain.vitals import State, Vitals

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

MOST_DOMAINS = 64
MOST_CHANNELS = 32
STATES: tuple[State, ...] = get_args(State)
RESULTS = ("cured", "not cured", "worse")

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: its kind, its words, and (labels, value) of each sample."""

    name: str
    kind: str
    help: str
    samples: list[tuple[Labels, float]] = field(default_factory=list)


NAMES: Mapping[str, tuple[str, str]] = {
    "steadytrain_run_state": ("gauge", "1 for the state that the run is in"),
    "steadytrain_run_needs_attention": ("gauge", "1 if the run does not move or is unguarded"),
    "steadytrain_judging": ("gauge", "1 while the judge guards the run"),
    "steadytrain_step": ("gauge", "Last update of the present branch"),
    "steadytrain_steps_planned": ("gauge", "Updates that the run shall make"),
    "steadytrain_attempt": ("gauge", "Number of the present life"),
    "steadytrain_tokens": ("gauge", "Tokens that the present branch was trained on"),
    "steadytrain_updates_total": ("counter", "Updates made in all lives"),
    "steadytrain_updates_skipped_total": ("counter", "Updates held back by the gate"),
    "steadytrain_updates_lost_total": ("counter", "Updates undone by rollbacks and restarts"),
    "steadytrain_kept_ratio": ("gauge", "Updates of the present branch over updates made"),
    "steadytrain_goodput_ratio": ("gauge", "Productive time over all time, up to the last line"),
    "steadytrain_time_seconds": ("gauge", "Where the time went, by part; together all of it"),
    "steadytrain_tokens_lost_total": ("counter", "Tokens of updates that were undone"),
    "steadytrain_loss_nats": ("gauge", "Loss of the last update per token"),
    "steadytrain_domain_loss_nats": ("gauge", "The same of a domain"),
    "steadytrain_panel_loss_nats": ("gauge", "Loss of a domain of the fixed panel per token"),
    "steadytrain_grad_norm": ("gauge", "Gradient norm of the last update before clipping"),
    "steadytrain_learning_rate": ("gauge", "Learning rate of the last update"),
    "steadytrain_step_seconds": ("gauge", "Median time of a recent update"),
    "steadytrain_tokens_per_second": ("gauge", "Over the recent updates, pauses included"),
    "steadytrain_silence_seconds": ("gauge", "Time since the last sign of movement"),
    "steadytrain_incidents_total": ("counter", "Incidents opened"),
    "steadytrain_incidents_open": ("gauge", "Incidents that are open"),
    "steadytrain_incidents_unseen": ("gauge", "Open incidents that nobody has acknowledged"),
    "steadytrain_incident_causes_total": ("counter", "Incidents by their first cause"),
    "steadytrain_outcomes_total": ("counter", "Remedies by what they did"),
    "steadytrain_proposals_waiting": ("gauge", "Remedies and questions that wait for a person"),
    "steadytrain_checkpoint_step": ("gauge", "Step of the newest durable checkpoint"),
    "steadytrain_checkpoint_timestamp_seconds": ("gauge", "When it was saved"),
    "steadytrain_checkpoint_failures_total": ("counter", "Checkpoints that could not be saved"),
    "steadytrain_mirror_step": ("gauge", "Step of the newest checkpoint in the object store"),
    "steadytrain_mirror_failures_total": ("counter", "Times that it could not be reached"),
    "steadytrain_restarts_total": ("counter", "Times the run was resumed"),
    "steadytrain_process_exits_total": ("counter", "Ranks that died or hung"),
    "steadytrain_alerts_total": ("counter", "Messages to people by channel and fate"),
    "steadytrain_damaged_lines": ("gauge", "Lines of the journal that cannot be read"),
}
"""Every metric with its kind and words; deploy/ may name no other."""


def metrics(runs: Sequence[Vitals]) -> str:
    """The metrics of runs that were read already. A name that stands twice gets a number."""
    families = {name: Family(name, *about) for name, about in NAMES.items()}
    seen: dict[str, int] = {}
    for found in runs:
        name = _run_name(found)
        seen[name] = seen.get(name, 0) + 1
        unique = name if seen[name] == 1 else f"{name}#{seen[name]}"
        for metric, labels, value in _samples(found):
            if value is not None:
                families[metric].samples.append(((("run", unique), *labels), float(value)))
    return "".join(_text(one) for one in families.values() if one.samples)


def _run_name(found: Vitals) -> str:
    began = found.standing.began
    return began.run if began is not None else found.home.absolute().name


def _samples(found: Vitals) -> Iterable[tuple[str, Labels, float | None]]:
    """(name without its prefix, labels, value) of all that is known about a run."""
    standing, record = found.standing, found.record
    began, state = standing.began, found.state
    for one in STATES:
        yield "steadytrain_run_state", (("state", one),), float(one == state)
    account = found.timesheet.account()
    stuck = state in ("silent", "down", "gave up") or not found.is_judging
    waiting = len(standing.proposals) + len(standing.asks())
    unseen = [name for name in standing.incidents if name not in found.acknowledged]
    plain: dict[str, float | None] = {
        "run_needs_attention": stuck,
        "judging": found.is_judging,
        "step": standing.step,
        "steps_planned": began.steps if began is not None else None,
        "attempt": standing.attempt,
        "tokens": found.timesheet.tokens,
        "updates_total": found.timesheet.num_updates,
        "updates_skipped_total": found.timesheet.num_skipped,
        "updates_lost_total": found.timesheet.num_lost,
        "kept_ratio": found.kept_share,
        "goodput_ratio": account.goodput,
        "tokens_lost_total": account.tokens_lost,
        "loss_nats": record.loss if record else None,
        "grad_norm": record.grad_norm if record else None,
        "learning_rate": record.lr if record else None,
        "step_seconds": found.step_seconds,
        "tokens_per_second": found.tokens_per_second,
        "silence_seconds": found.silence if found.written else None,
        "incidents_total": found.num_incidents,
        "incidents_open": len(standing.incidents),
        "incidents_unseen": len(unseen),
        "proposals_waiting": waiting,
        "checkpoint_step": found.checkpoint.step if found.checkpoint else None,
        "checkpoint_timestamp_seconds": found.checkpoint_at,
        "checkpoint_failures_total": found.checkpoints_failed,
        "mirror_step": found.mirrored.step if found.mirrored else None,
        "mirror_failures_total": found.mirror_failures,
        "restarts_total": found.num_restarts,
        "damaged_lines": found.news.num_damaged,
    }
    for name, value in plain.items():
        yield f"steadytrain_{name}", (), value
    for part in PARTS if account.wall else ():
        yield "steadytrain_time_seconds", (("part", part),), account.seconds[part]
    for name, loss in list(found.domain_losses().items())[:MOST_DOMAINS]:
        yield "steadytrain_domain_loss_nats", (("domain", name),), loss
    for name, loss in list(found.panel_losses().items())[:MOST_DOMAINS]:
        yield "steadytrain_panel_loss_nats", (("domain", name),), loss
    diagnosed = list(found.causes.values())
    for cause in causes.ALL:
        count = diagnosed.count(cause)
        if count:
            yield "steadytrain_incident_causes_total", (("cause", cause),), count
    for result in RESULTS:
        yield "steadytrain_outcomes_total", (("result", result),), found.results[result]
    for how in ("died", "hung"):
        yield "steadytrain_process_exits_total", (("how", how),), found.exits[how]
    for (channel, fate), count in sorted(found.alerts.items())[:MOST_CHANNELS]:
        yield "steadytrain_alerts_total", (("channel", channel), ("state", fate)), count


def _text(family: Family) -> str:
    lines = [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
    for labels, value in family.samples:
        inside = ",".join(f'{name}="{_escaped(one)}"' for name, one in labels)
        lines.append(f"{family.name}{{{inside}}} {_number(value)}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)
