"""All that the judge remembers: plain data that a journal can hold.

Two rules keep it honest. A baseline belongs to a trajectory: when the model rolls back, the windows
forget what came later. A case belongs to the run: it never rolls back, or the ladder would loop.
"""

from itertools import pairwise
from typing import Any, Literal

import msgspec

from steadytrain.events import BatchExamined, PanelRecord, Proposal
from steadytrain.judge.detectors import Detector, Window
from steadytrain.judge.evidence import Unlike
from steadytrain.judge.looks import Looks, rewound
from steadytrain.judge.seen import Seen
from steadytrain.ramps import Ramp

LAG = 2
"""A record of step k is read while step k + 1 runs, and all ranks hear of it before k + 2."""

Mode = Literal["observe", "ask", "act"]
Phase = Literal["examining", "trying", "proposed", "treating", "verifying", "watching", "waiting"]


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """The open incident. A case history belongs to the run and never rolls back.

    Attributes:
        phase: examining (evidence asked for), trying (candidates are tried), proposed (a person
            shall agree), treating (a remedy is on its way), verifying (it was carried out),
            watching (nothing to do but look), waiting (for a person's own decision).
        opened: step whose record opened it.
        onset: first step that looks affected.
        last_alarm: newest step with an alarm.
        examine_at: step before which evidence is gathered.
        peak: highest total loss seen, None while none was finite.
        level: mean loss of the calm steps before the onset, None where there were none.
        rung: of the newest remedy, -1 before the first.
        remedy: id of the newest remedy.
        healed_after: verification counts committed steps after this one.
        good_sum: sum of the losses of the good steps.
        panel_due: the panel was asked for before this step; None while it was not.
        undo: remedies that made things worse, to be cancelled by the next plan.
        unlike: how replicas of the state differ, None once they agree again; good steps count then.
    """

    id: str
    phase: Phase
    attempt: int
    opened: int
    onset: int
    last_alarm: int
    signals: tuple[str, ...]
    directions: tuple[str, ...]
    score: float
    examine_at: int
    peak: float | None = None
    level: float | None = None
    cause: str | None = None
    rung: int = -1
    remedy: str | None = None
    healed_after: int | None = None
    good_steps: int = 0
    good_sum: float = 0.0
    panel_due: int | None = None
    undo: tuple[str, ...] = ()
    unlike: Unlike | None = None


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """One remedy of the run's history: what, where, and what came of it.

    Attributes:
        onset, window: the place: first affected step, and the draws of the affected steps.
        left_out: draws that its plan skipped.
        began: settings of its plan hold after this step; None if it set nothing.
        lr_factor: what it multiplied the learning rate by.
        result: pending, cured, not cured, worse or refused.
    """

    incident: str
    remedy: str
    cause: str
    rung: int
    onset: int
    result: str
    window: tuple[tuple[int, int], ...] = ()
    left_out: tuple[tuple[int, int], ...] = ()
    began: int | None = None
    lr_factor: float = 1.0


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate compares with; None lets everything finite pass."""

    loss: float | None = None
    grad_norm: float | None = None


class Durability(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of the checkpoints, saved and failed.

    Attributes:
        saved: step of the newest durable checkpoint, None before the first.
        asked: steps at which the last saves of this life began, whatever became of them.
        failures: in a row.
        reason: of the last failure.
        told: age at which it was told last; None since a save succeeded. [steps]
    """

    saved: int | None = None
    asked: tuple[int, ...] = ()
    failures: int = 0
    reason: str = ""
    told: int | None = None

    @property
    def every(self) -> int | None:
        """Steps between two saves as a rule."""
        return max((late - early for early, late in pairwise(self.asked)), default=None)


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The judge's memory.

    Attributes:
        world: ranks of the present life, None: as many as the run began with.
        repeat_rtol: relative difference of a repeated step's loss that is no news.
        begin: step of the state that the run began with: 0, or where it branched off another run.
        step: last step judged on the present trajectory. Earlier ones are repeats.
        steps: of the whole run, None if it is not known.
        can: actions that the training side can carry out; None: every one.
        sizes: draws of an update, as (after step, draws).
        mode: what a person set; None: as the recipe says.
        healthy_until: checkpoints up to this step are known to be good.
        agreed: step of the newest state on which all replicas agreed; None before the first
            comparison. compared_in: the attempt of the newest comparison.
        named: ranks that a majority of replicas has named, once for each time.
        steps_lost: updates made again after rollbacks.
        panel: newest look at the panel that is known to be healthy, and `panel_now` the newest.
        looks: what the panel did through the run, and what happened meanwhile.
        mixture_told: step at which a change of the mixture was said last.
        optimizer: settings that the run began with.
        changed_settings: name -> (what it was, what it became) in the open case.
        plan_rolls_back: for the remedy under way, the step to return to.
        proposed: what waits for a person; candidates: the rungs that are being tried.
        durability: of the checkpoints.
    """

    domains: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    sizes: Ramp = ((0, 1),)
    steps: int | None = None
    can: tuple[str, ...] | None = None
    mode: Mode | None = None
    attempt: int = 0
    world: int | None = None
    repeat_rtol: float = 0.0
    begin: int = 0
    step: int = 0
    windows: dict[str, Window] = {}
    recent: tuple[Seen, ...] = ()
    case: Case | None = None
    examined: BatchExamined | None = None
    history: tuple[Tried, ...] = ()
    num_incidents: int = 0
    num_remedies: int = 0
    num_rollbacks: int = 0
    num_trials: int = 0
    steps_lost: int = 0
    slow_steps: int = 0
    mixture_told: int = 0
    optimizer: dict[str, float] = {}
    changed_settings: dict[str, tuple[float, float]] = {}
    healthy_until: int = 0
    agreed: int | None = None
    compared_in: int = 0
    named: tuple[int, ...] = ()
    panel: PanelRecord | None = None
    panel_now: PanelRecord | None = None
    looks: Looks = Looks()
    plan_rolls_back: int | None = None
    proposed: Proposal | None = None
    candidates: tuple[Proposal, ...] = ()
    advised: tuple[str, ...] = ()
    durability: Durability = Durability()

    @property
    def is_treated(self) -> bool:
        """Whether a remedy is tried, on its way or verified: the panel is looked at for that."""
        return self.case is not None and self.case.phase in ("trying", "treating", "verifying")


def freeze(state: State) -> dict[str, Any]:
    """The state as plain data for a `JudgeState` line."""
    plain: dict[str, Any] = msgspec.to_builtins(state)
    return plain


def thaw(plain: dict[str, Any]) -> State:
    """The state from a `JudgeState` line."""
    return msgspec.convert(plain, State)


def amend(state: State, **changes: Any) -> State:
    """The state with some of it changed."""
    return msgspec.structs.replace(state, **changes)


def amend_case(state: State, case: Case, **changes: Any) -> State:
    """The state with this case, changed."""
    return amend(state, case=msgspec.structs.replace(case, **changes))


def rewind(state: State, step: int, detector: Detector) -> State:
    """The state when the trajectory goes back to `step`: what came later is no baseline."""
    return amend(
        state,
        step=min(state.step, step),
        windows={
            name: detector.forget_after(window, step) for name, window in state.windows.items()
        },
        recent=tuple(seen for seen in state.recent if seen.step <= step),
        slow_steps=0,
        healthy_until=min(state.healthy_until, step),
        agreed=None if state.agreed is None else min(state.agreed, step),
        panel=_not_after(state.panel, step),
        panel_now=_not_after(state.panel_now, step),
        looks=rewound(state.looks, step),
    )


def _not_after(look: PanelRecord | None, step: int) -> PanelRecord | None:
    return look if look is not None and look.step <= step else None
