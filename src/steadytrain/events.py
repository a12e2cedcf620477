"""The vocabulary. Three kinds of event, and nothing else is ever written to a journal:

    Fact      observed: a step's numbers, a checkpoint on disk, a process that died
    Judgment  concluded: a pure function of the facts and deeds before it
    Deed      done: a remedy carried out, citing the judgment that asked for it

Three clocks, never confused: `attempt` (a life of the run, begun by a start, a restart or a
rollback), `step` (the update number, from 1; it repeats after a rollback), `draw` (absolute
position in the data order; never renumbered).

Units: losses are nats per token, durations seconds, ranges half-open `(first, end)`.
Per-domain tuples are in the order of `RunBegan.domains`.

Fields at their default are left out of a line, so a new field with a default is free.
"""

from typing import Any, Literal

import msgspec

from steadytrain.actions import Plan


class Event(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag=True
):
    """Anything that can stand in a journal."""


class Fact(Event, frozen=True):
    """Something was observed."""


class Judgment(Event, frozen=True):
    """Something was concluded from the facts and deeds before it."""


class Deed(Event, frozen=True):
    """Something was done, citing the judgment that asked for it."""


class RunBegan(Fact, frozen=True):
    """The run's first line: enough to replay every judgment from the journal alone.

    Attributes:
        recipe: the judge, as plain data.
        model, panel: digest of the parameters' names, shapes and dtypes; of the fixed panel.
        draws_per_step, ramp: sequences of an update over all ranks; later (after step, number).
        layers, order: groups of `StepRecord.layer_norms`; "module:function" of the data order.
        can: names of the actions that this training side can carry out; None: every one.
    """

    run: str
    recipe: dict[str, Any]
    domains: tuple[str, ...]
    model: str
    parameters: int
    world: int
    draws_per_step: int
    ramp: tuple[tuple[int, int], ...] = ()
    steps: int | None = None
    panel: str | None = None
    versions: dict[str, str] = {}
    layers: tuple[str, ...] = ()
    order: str | None = None
    can: tuple[str, ...] | None = None


class AttemptBegan(Fact, frozen=True):
    """A life of the run began; the first step it will make is `step + 1`, from `draw` on."""

    attempt: int
    step: int
    draw: int
    cause: Literal["start", "restart", "rollback"]
    remedy: str | None = None
    checkpoint: str | None = None


class RunEnded(Fact, frozen=True):
    """The training loop ended by itself."""

    attempt: int
    step: int


class OptimizerSettings(Fact, frozen=True):
    """What the optimizer used, apart from the learning rate: told when a life begins, and when it
    changed since. What a remedy asked for is not in it.

    Attributes:
        settings: of the first parameter group: beta1, beta2, eps, as far as it has them.
    """

    attempt: int
    step: int
    settings: dict[str, float]


class StepRecord(Fact, frozen=True):
    """One update, committed or skipped by the gate.

    Attributes:
        draw, draw_end: the update used the draws of [draw, draw_end) that are not excluded.
        loss: mean cross-entropy over all tokens of all ranks, without z-loss. [nats/token]
        nll, tokens, bytes, sequences: sums per domain over all ranks.
        squares: per domain, sum over sequences of (mean loss of the sequence) squared.
        z_loss: mean of coefficient * logsumexp^2, kept apart from `loss`. [nats/token]
        grad_norm: global L2 norm before clipping.
        layer_norms: the same of each group of layers.
        logsumexp: root mean square of the logits' logsumexp over all tokens. [nats]
        corrupt: sequences whose text is corrupt, per domain over all ranks.
        repeated: sequences that stood in the last 32 steps, each rank comparing its own.
        attention_logit: largest logit of the attention that was looked at, None if none was.
        update: root mean square of the change of a fixed sample of weights.
        lr, lr_planned: what the optimizer used, and what the schedule and remedies asked for.
        loss_limit, grad_limit: what the gate compared with.
        worst: (draw, domain index, mean loss) of this rank's highest and lowest sequences.
        seconds: wall time since the update before.
    """

    attempt: int
    step: int
    draw: int
    draw_end: int
    loss: float
    nll: tuple[float, ...]
    tokens: tuple[int, ...]
    bytes: tuple[int, ...]
    sequences: tuple[int, ...]
    squares: tuple[float, ...]
    committed: bool = True
    z_loss: float | None = None
    grad_norm: float | None = None
    update: float | None = None
    lr: float | None = None
    lr_planned: float | None = None
    loss_scale: float | None = None
    loss_limit: float | None = None
    grad_limit: float | None = None
    worst: tuple[tuple[int, int, float], ...] = ()
    seconds: float | None = None
    layer_norms: tuple[float, ...] = ()
    logsumexp: float | None = None
    corrupt: tuple[int, ...] = ()
    repeated: int = 0
    attention_logit: float | None = None


class PanelRecord(Fact, frozen=True):
    """Loss of the fixed panel at a step, per domain and per sequence, in the panel's order.

    Attributes:
        nll, tokens, bytes: sums per domain.
        losses: mean loss of each panel sequence, per domain. [nats/token]
    """

    attempt: int
    step: int
    nll: tuple[float, ...]
    tokens: tuple[int, ...]
    bytes: tuple[int, ...]
    losses: tuple[tuple[float, ...], ...]
    seconds: float | None = None


class CheckpointSaved(Fact, frozen=True):
    """A checkpoint is durable and its manifest is written; `rng`: each rank's random state."""

    attempt: int
    step: int
    draw: int
    path: str
    bytes: int
    digest: str
    seconds: float
    blocked_seconds: float
    rng: tuple[str, ...] = ()


class CheckpointFailed(Fact, frozen=True):
    """A checkpoint could not be written; training went on."""

    attempt: int
    step: int
    reason: str


class CheckpointRefused(Fact, frozen=True):
    """A checkpoint did not verify at a restart; an older one was tried."""

    path: str
    reason: str


class ExaminedSequence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One sequence of a suspect step, or a control beside it.

    Attributes:
        z: robust distance of its loss from the other sequences of its domain.
        verdict, defect: what the text lint says ("corrupt", "garbled").
        source: where it came from, as the feed tells it.
    """

    draw: int
    step: int
    domain: int
    loss: float
    z: float
    verdict: str
    role: Literal["suspect", "control"] = "suspect"
    defect: str | None = None
    evidence: str = ""
    source: str = ""


class BatchExamined(Fact, frozen=True):
    """The evidence that an incident asked for.

    Attributes:
        sequences: suspects and controls with their text verdicts.
        flagged: draws whose text is corrupt, around the onset and ahead of it.
        defect: the commonest defect among them; `alike`: the most of them that are nearly the same
            text; `sources`: the files with the most of them.
        scanned: how many draws were read to find them.
        domains: domain index of each flagged range.
        suspect_now, suspect_before, control_now, control_before: loss of the suspect step's batch,
            and of one before the onset, under the present weights and those of `before_step`.
        before_step: step of the healthy state compared with; None if none was held.
        weight_excess: largest change of any single weight since then over the largest that the
            optimizer could have made; above 1 no optimizer did it.
        moment_excess: largest factor by which a second moment fell below what its decay allows;
            above 1 no optimizer did it.
        moments_lost: share of the second moments that fell impossibly.
        moments_flipped: moments that are larger than clipped gradients can make them, or fell
            impossibly where hardly any other did.
        below_epsilon: share of the weights whose gradients are smaller than Adam's epsilon.
        harmless_epsilon: an epsilon that is below a tenth of all but 1 % of the gradients.
        logit_max: the largest logit of a healthy batch under the present weights.
        capped_loss: (cap, loss of that batch with its logits softly capped there).
        logits_at_cap: share of its tokens whose largest logit is within 1 % of the largest of all.
        repeated, repeated_before: share of the affected sequences that came in the 32 steps before
            already, and of those of the steps before the onset.
        remade_steps, differs_at, differs_in: steps made again from `before_step`, the first of them
            that came out otherwise, and in what: "loss" (another state) or "gradient norm".
        weights_differ, moments_differ: numbers of the present state that differ from the remade.
        norm_again, full_rate, half_rate: the onset's step made again: its gradient norm, and the
            loss of the control batch after it, and after it with half the learning rate.
        unlike_ranks: ranks that gave another gradient the second time, or than the others.
        nonfinite_weights: number of weights that are not finite.
        path, digest: the file with the texts, and its hash.
    """

    incident: str
    attempt: int
    step: int
    sequences: tuple[ExaminedSequence, ...] = ()
    flagged: tuple[tuple[int, int], ...] = ()
    flagged_domains: tuple[int, ...] = ()
    defect: str | None = None
    alike: int = 0
    sources: tuple[tuple[str, int], ...] = ()
    scanned: int = 0
    suspect_now: float | None = None
    suspect_before: float | None = None
    control_now: float | None = None
    control_before: float | None = None
    before_step: int | None = None
    weight_excess: float | None = None
    moment_excess: float | None = None
    moments_lost: float | None = None
    moments_flipped: int = 0
    below_epsilon: float | None = None
    repeated: float | None = None
    repeated_before: float | None = None
    remade_steps: int | None = None
    differs_at: int | None = None
    differs_in: Literal["loss", "gradient norm"] | None = None
    weights_differ: int = 0
    moments_differ: int = 0
    norm_again: float | None = None
    full_rate: float | None = None
    half_rate: float | None = None
    unlike_ranks: tuple[int, ...] = ()
    nonfinite_weights: int = 0
    harmless_epsilon: float | None = None
    logit_max: float | None = None
    capped_loss: tuple[tuple[float, float], ...] = ()
    logits_at_cap: float | None = None
    seconds: float | None = None
    path: str | None = None
    digest: str | None = None


class RestoreVerified(Fact, frozen=True):
    """A restored state was compared with what the journal says of it.

    Attributes:
        source: "snapshot", the checkpoint's name, or "rehearsal": nothing was restored yet.
        checked: of "lr", "betas", "epsilon", "step count", "draw", "rng", "loss".
        differences: a sentence for each; the state is refused, or `taken` if none is better.
        loss, recorded_loss: of the batch of update `step` + 1, now and on record. [nats/token]
    """

    attempt: int
    step: int
    source: str
    checked: tuple[str, ...]
    differences: tuple[str, ...] = ()
    loss: float | None = None
    recorded_loss: float | None = None
    taken: bool = False


class RunBranched(Fact, frozen=True):
    """This run began from a checkpoint of another one, with the `remedies` in force there.

    Attributes:
        step, draw, updates: last update in it, position in the data, updates committed.
    """

    run: str
    home: str
    step: int
    draw: int
    checkpoint: str
    updates: int | None = None
    remedies: tuple["Remedy", ...] = ()


class PersonSaid(Fact, frozen=True):
    """A person's word to the run.

    Attributes:
        id: of this word, so that it is obeyed once.
        who: the account that owned the file it came in, and the name that was given.
        verb: accept or refuse a proposal, order a plan, or set the judge's mode from here on.
        step: last update before it was read.
        remedy, incident: what it is about, where it is about one.
        plan: what was ordered.
    """

    id: str
    who: str
    verb: Literal["accept", "refuse", "order", "observe", "ask", "act"]
    step: int
    remedy: str | None = None
    incident: str | None = None
    plan: tuple[Plan, ...] = ()
    words: str = ""


class Trial(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of one candidate in a trial.

    Attributes:
        losses: of the updates made, over all ranks. [nats/token]
        control: loss of the control batch at the end. [nats/token]
        grad_norm: the largest.
    """

    plan: tuple[Plan, ...]
    losses: tuple[float, ...]
    control: float | None = None
    grad_norm: float | None = None


class TrialDone(Fact, frozen=True):
    """Candidate remedies were tried for a few updates each; the run was put back to the bit.

    Attributes:
        control_before: loss of the control batch in the healthy state. [nats/token]
    """

    incident: str
    attempt: int
    step: int
    trials: tuple[Trial, ...]
    control_before: float | None = None
    seconds: float | None = None


class JudgingEnded(Fact, frozen=True):
    """The judge itself failed. Training goes on unguarded from here, and says so."""

    step: int
    reason: str


class JudgeState(Fact, frozen=True):
    """The judge's memory after all earlier lines, so that a restart need not replay them."""

    step: int
    state: dict[str, Any]


class WorkersStarted(Fact, frozen=True):
    """The supervisor started all ranks. `generation` counts starts from 0."""

    generation: int
    pids: tuple[int, ...]
    step: int | None = None


class ProcessExited(Fact, frozen=True):
    """A rank ended, or stopped moving and was killed.

    Attributes:
        signal: name of the signal that ended it ("SIGKILL"), None if it exited.
        hung: it was alive but made no progress for `silent_seconds`, in `phase`.
        step: last step that it reported; None if it never reported one.
    """

    generation: int
    rank: int
    pid: int
    code: int | None = None
    signal: str | None = None
    hung: bool = False
    phase: str | None = None
    silent_seconds: float | None = None
    step: int | None = None
    error: str | None = None


class WorkersFinished(Fact, frozen=True):
    """Every rank exited with status 0."""

    generation: int


class Heartbeat(Fact, frozen=True):
    """The supervisor's regular look at the slowest rank."""

    generation: int
    rank: int
    step: int | None
    phase: str
    silent_seconds: float


class Advice(Judgment, frozen=True):
    """Said once: something about the run's set-up that limits what can be seen."""

    topic: str
    text: str


class Alarm(Judgment, frozen=True):
    """A signal left its band.

    Attributes:
        value, expected: what it was and what the baseline forecast, in natural units: nats per
            token, L2 norm, update per learning rate, tokens per second.
        score: signed distance from it. [robust standard deviations]
    """

    attempt: int
    step: int
    signal: str
    direction: Literal["rise", "drop", "not finite", "stalled", "changed"]
    value: float
    expected: float
    score: float


class Incident(Judgment, frozen=True):
    """Alarms that belong together; everything that follows cites its id.

    Attributes:
        onset: first step that looks affected.
        examine_at: the step before which the training side shall gather evidence.
    """

    id: str
    change: Literal["opened", "grew", "closed"]
    attempt: int
    step: int
    onset: int
    signals: tuple[str, ...]
    directions: tuple[str, ...]
    score: float
    examine_at: int | None = None
    reason: str = ""


class Cause(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One possible cause, with what speaks for it, what against, and what would refute it."""

    name: str
    confidence: float
    evidence: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    refuted_by: str = ""
    domain: str | None = None
    defect: str | None = None


class Diagnosis(Judgment, frozen=True):
    """Causes of an incident, most credible first."""

    incident: str
    step: int
    causes: tuple[Cause, ...]


class Remedy(Judgment, frozen=True):
    """What shall be done about an incident, as data; carried out before step `due`."""

    id: str
    incident: str
    step: int
    due: int
    rung: int
    cause: str
    plan: tuple[Plan, ...]
    why: str


class Proposal(Judgment, frozen=True):
    """What would be done about an incident, if a person agreed; fields as of `Remedy`.

    In the mode "observe" nobody is waited for.
    """

    id: str
    incident: str
    step: int
    rung: int
    cause: str
    plan: tuple[Plan, ...]
    why: str


class PanelWanted(Judgment, frozen=True):
    """The panel shall be looked at before step `due`, to verify a remedy."""

    incident: str
    step: int
    due: int


class TrialWanted(Judgment, frozen=True):
    """Candidate plans, mildest first, shall be tried for `updates` updates each before `due`."""

    incident: str
    step: int
    due: int
    onset: int
    candidates: tuple[tuple[Plan, ...], ...]
    updates: int


class Outcome(Judgment, frozen=True):
    """Whether a remedy held, judged on `steps` committed updates after it.

    Attributes:
        loss_before, loss_peak, loss_after: level before the onset, the highest of the incident,
            and the mean of those updates. [nats/token]
        panel_before, panel_after: per domain, the last look before the onset and the one that
            verified; empty where there was none. [nats/token]
    """

    incident: str
    remedy: str
    step: int
    result: Literal["cured", "not cured", "worse"]
    steps: int
    why: str = ""
    loss_before: float | None = None
    loss_peak: float | None = None
    loss_after: float | None = None
    panel_before: tuple[float, ...] = ()
    panel_after: tuple[float, ...] = ()


class Restart(Judgment, frozen=True):
    """The processes shall be started again after `wait_seconds`."""

    generation: int
    cause: str
    wait_seconds: float
    why: str


class GiveUp(Judgment, frozen=True):
    """Starting again will not help."""

    generation: int
    cause: str
    why: str


class RemedyDone(Deed, frozen=True):
    """A remedy was carried out; `step` is the last step kept, `restored_step` the state loaded."""

    remedy: str
    attempt: int
    step: int
    restored_step: int | None = None
    source: str | None = None
    seconds: float | None = None


KINDS: tuple[type[Event], ...] = (
    RunBegan,
    AttemptBegan,
    RunEnded,
    OptimizerSettings,
    StepRecord,
    PanelRecord,
    CheckpointSaved,
    CheckpointFailed,
    CheckpointRefused,
    BatchExamined,
    RestoreVerified,
    RunBranched,
    PersonSaid,
    TrialDone,
    JudgingEnded,
    JudgeState,
    WorkersStarted,
    ProcessExited,
    WorkersFinished,
    Heartbeat,
    Advice,
    Alarm,
    Incident,
    Diagnosis,
    Remedy,
    Proposal,
    PanelWanted,
    TrialWanted,
    Outcome,
    Restart,
    GiveUp,
    RemedyDone,
)
"""Every kind that a journal may hold. Adding one needs a golden line in tests/golden/events/."""
