"""The vocabulary: what was observed, what was concluded, what was done.

Three kinds of event, and nothing else is ever written to a journal:

    Fact      observed: a step's numbers, a checkpoint on disk, a process that died
    Judgment  concluded: a pure function of the facts and deeds before it
    Deed      done: a remedy carried out, citing the judgment that asked for it

Three clocks, never confused: `attempt` (a life of the run, begun by a start, a restart or a
rollback), `step` (the update number, from 1; it repeats after a rollback), `draw` (absolute
position in the data order; never renumbered).

Units: losses are nats per token, durations seconds, ranges half-open `(first, end)`.
Per-domain tuples are in the order of `RunBegan.domains`.

JSON form: one object a line, `kind` first. Floats are written by their shortest round-trip form;
NaN and infinity as `{"float": "nan"}`, since JSON has no word for them and a browser must never
meet a bare `NaN`. Fields at their default are left out, so a new field with a default is free.
"""

import json
import math
from collections.abc import Sequence
from typing import Any, Literal

import msgspec


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
        model: digest of the parameters' names, shapes and dtypes.
        draws_per_step: sequences that one update consumes over all ranks.
        panel: content hash of the fixed panel, None without one.
        layers, order: groups of `StepRecord.layer_norms`; "module:function" of the data order.
    """

    run: str
    recipe: dict[str, Any]
    domains: tuple[str, ...]
    model: str
    parameters: int
    world: int
    draws_per_step: int
    steps: int | None = None
    panel: str | None = None
    versions: dict[str, str] = {}
    layers: tuple[str, ...] = ()
    order: str | None = None


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
    """A checkpoint is durable and its manifest is written."""

    attempt: int
    step: int
    draw: int
    path: str
    bytes: int
    digest: str
    seconds: float
    blocked_seconds: float


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
    seconds: float | None = None
    path: str | None = None
    digest: str | None = None


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


class Action(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="do", tag=True
):
    """One thing that hands can do. From `from_step + 1` on a setting holds."""


class SkipUpdate(Action, frozen=True):
    """Let the update of `step` not land. The gate has done so already when this is written."""

    step: int


class RollBack(Action, frozen=True):
    """Return to the state after `to_step`; everything later is another branch."""

    to_step: int


class SkipDraws(Action, frozen=True):
    """Leave these draws out of the data order in every step after `from_step`."""

    ranges: tuple[tuple[int, int], ...]
    from_step: int


class ScaleLearningRate(Action, frozen=True):
    """Multiply the learning rate by `factor`, then re-warm linearly to the schedule."""

    factor: float
    from_step: int
    hold_steps: int
    rewarm_steps: int


class ScaleEpsilon(Action, frozen=True):
    """Multiply Adam's epsilon by `factor`."""

    factor: float
    from_step: int


class ScaleShallowGradients(Action, frozen=True):
    """Multiply the gradients of the embedding and lowest block by `alpha`, then relax to 1."""

    alpha: float
    from_step: int
    hold_steps: int
    relax_steps: int


class SetZLoss(Action, frozen=True):
    """Set the coefficient of the z-loss."""

    coefficient: float
    from_step: int


class BeginDecay(Action, frozen=True):
    """Begin the schedule's decay phase now."""

    from_step: int


class AskPerson(Action, frozen=True):
    """Nothing automatic is left, or allowed: a person has to decide."""

    question: str


Plan = (
    SkipUpdate
    | RollBack
    | SkipDraws
    | ScaleLearningRate
    | ScaleEpsilon
    | ScaleShallowGradients
    | SetZLoss
    | BeginDecay
    | AskPerson
)


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


class Outcome(Judgment, frozen=True):
    """Whether a remedy held, judged on `steps` committed updates after it."""

    incident: str
    remedy: str
    step: int
    result: Literal["cured", "not cured", "worse"]
    steps: int
    why: str = ""


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
    Outcome,
    Restart,
    GiveUp,
    RemedyDone,
)
"""Every kind that a journal may hold. Adding one needs a golden line in tests/golden/events/."""

NONFINITE_MARK = b'{"float":'
"""Stands in a line that holds a NaN or an infinity."""


class Codec:
    """Events to JSON bytes and back, non-finite floats included."""

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder()
        self._union: Any = KINDS[0]
        for kind in KINDS[1:]:
            self._union = self._union | kind
        self._decoder = msgspec.json.Decoder(self._union)

    def encode(self, event: Event) -> bytes:
        """One JSON object, no newline."""
        line = self._encoder.encode(event)
        # msgspec writes NaN and infinity as null. Fields at None are left out, so a null is rare.
        if b"null" in line:
            plain = _spell_nonfinite(msgspec.to_builtins(event))
            line = json.dumps(plain, separators=(",", ":"), ensure_ascii=False).encode()
        return line

    def decode(self, line: bytes) -> Event:
        """The event of a line; fields that this version does not know are ignored.

        Raises:
            msgspec.DecodeError: not JSON, or not an event of KINDS.
        """
        if NONFINITE_MARK in line:
            plain = json.loads(line, object_hook=_read_nonfinite)
            event: Event = msgspec.convert(plain, self._union)
            return event
        decoded: Event = self._decoder.decode(line)
        return decoded

    def decode_all(self, lines: Sequence[bytes]) -> list[Event]:
        """`decode` of many lines, without a call of ours for each.

        Raises:
            msgspec.DecodeError: a line is not JSON, or not an event of KINDS.
        """
        if any(NONFINITE_MARK in line for line in lines):
            return [self.decode(line) for line in lines]
        return list(map(self._decoder.decode, lines))


def _spell_nonfinite(plain: Any) -> Any:
    if isinstance(plain, float) and not math.isfinite(plain):
        return {"float": repr(plain)}
    if isinstance(plain, dict):
        return {key: _spell_nonfinite(value) for key, value in plain.items()}
    if isinstance(plain, list | tuple):
        return [_spell_nonfinite(value) for value in plain]
    return plain


def _read_nonfinite(plain: dict[str, Any]) -> Any:
    if plain.keys() == {"float"} and plain["float"] in ("nan", "inf", "-inf"):
        return float(plain["float"])
    return plain


_codec = Codec()
encode = _codec.encode
decode = _codec.decode
decode_all = _codec.decode_all
