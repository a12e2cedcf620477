"""Facts of a training run: its lives, its updates, its panel, its checkpoints, a person's word."""

from typing import Any, Literal

from steadytrain.actions import Plan
from steadytrain.events.judgments import Remedy
from steadytrain.events.kinds import Fact


class RunBegan(Fact, frozen=True):
    """The run's first line: enough to replay every judgment from the journal alone.

    Attributes:
        recipe: the judge, as plain data.
        model, panel: digest of the parameters' names, shapes and dtypes; of the fixed panel.
        draws_per_step, ramp: sequences of an update over all ranks; later (after step, number).
        panel_every: steps between looks at the panel; None: as the judge asks for them.
        layers, order: groups of `StepRecord.layer_norms`; "module:function" of the data order.
        can: names of the actions that this training side can carry out; None: every one.
        copies: replicas of each part of the state; 1: the ranks have nothing to compare.
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
    panel_every: int | None = None
    versions: dict[str, str] = {}
    layers: tuple[str, ...] = ()
    order: str | None = None
    can: tuple[str, ...] | None = None
    copies: int | None = None


class AttemptBegan(Fact, frozen=True):
    """A life of the run began; the first step it will make is `step + 1`, from `draw` on.

    Attributes:
        world: ranks, where there are not as many as the run began with.
        exact: whether the ranks' devices repeat an update to the bit; GPUs do if torch is told to.
    """

    attempt: int
    step: int
    draw: int
    cause: Literal["start", "restart", "rollback"]
    remedy: str | None = None
    checkpoint: str | None = None
    world: int | None = None
    exact: bool = True


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
        leaked: sequences that hold text of the fixed panel, per domain over all ranks.
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
    leaked: tuple[int, ...] = ()


class PanelDrawn(Fact, frozen=True):
    """A fixed panel is in use from here on: the first of the run, or one that replaces it.

    Attributes:
        version: 1 for the first of a run; only looks of one version are compared.
        digest: of its contents; `replaces`: that of the version before.
        seed, window: of the draw; the most tokens that a sequence predicts. None if not known.
        tokenizer: what made tokens of the text, and the digest of its vocabulary.
        lengths: tokens that each sequence predicts, per domain in the panel's order.
        unigram: what a domain costs who only knows how often each token occurs; None for a domain
            without sequences. [nats/token]
        path: the file that holds it, below the home.
        origin: the run or file that it was first drawn for, if it is shared.
        notes: sentences about what could not be done as asked.
        why: the reason for a new version.
    """

    attempt: int
    step: int
    digest: str
    lengths: tuple[tuple[int, ...], ...]
    version: int = 1
    replaces: str | None = None
    seed: int | None = None
    window: int | None = None
    tokenizer: str | None = None
    path: str | None = None
    origin: str | None = None
    notes: tuple[str, ...] = ()
    why: str = ""
    unigram: tuple[float | None, ...] = ()


class PanelRecord(Fact, frozen=True):
    """Loss of the fixed panel at a step, per domain and per sequence, in the panel's order.

    Attributes:
        nll, tokens, bytes: sums per domain.
        losses: mean loss of each panel sequence, per domain. [nats/token]
        version: of the panel, as `PanelDrawn` counts them.
        why: "before the run", "schedule", "last", or the event that asked for it.
    """

    attempt: int
    step: int
    nll: tuple[float, ...]
    tokens: tuple[int, ...]
    bytes: tuple[int, ...]
    losses: tuple[tuple[float, ...], ...]
    seconds: float | None = None
    version: int = 1
    why: str = "schedule"


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


class CheckpointMirrored(Fact, frozen=True):
    """A checkpoint and the journal up to it are in the object store; `bytes` were copied."""

    attempt: int
    step: int
    path: str
    bytes: int
    seconds: float


class MirrorFailed(Fact, frozen=True):
    """The object store could not be read or written; training went on without it.

    Attributes:
        step: of the checkpoint that is not there; None if it was about no single one.
    """

    reason: str
    step: int | None = None


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
    remedies: tuple[Remedy, ...] = ()


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


class JudgingEnded(Fact, frozen=True):
    """The judge itself failed. Training goes on unguarded from here, and says so."""

    step: int
    reason: str


class JudgeState(Fact, frozen=True):
    """The judge's memory after all earlier lines, so that a restart need not replay them.

    Attributes:
        adopted: it does not follow from the earlier lines: it came from another replica, or belongs
            to the older state that the run went back to. What comes later is judged from it.
    """

    step: int
    state: dict[str, Any]
    adopted: bool = False


class ReplicasChanged(Fact, frozen=True):
    """Who makes the updates after `step`, in a run of several replicas; written when that changes.

    Attributes:
        replicas: how many share the sequences of an update.
        place: of the replica that writes this among them, None if it only stands by.
        healed: it took weights, moments, position and the judge's memory over from another one.
        discarded: updates that were begun since the last such line and made again, because one of
            the replicas was lost or did not answer.
    """

    attempt: int
    step: int
    replicas: int
    place: int | None = None
    healed: bool = False
    discarded: int = 0
