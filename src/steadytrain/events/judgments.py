"""What is concluded from the facts and deeds before it; and the deeds that answer."""

from typing import Literal

import msgspec

from steadytrain.actions import Plan
from steadytrain.events.kinds import Deed, Judgment


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
    direction: Literal["rise", "drop", "not finite", "stalled", "changed", "differs"]
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
    """The panel shall be looked at before step `due`: to verify a remedy of an incident, or `why`
    says what else."""

    step: int
    due: int
    incident: str | None = None
    why: str = ""


class PanelMove(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a domain of the panel moved, paired, with its 95 % interval. [nats/token]

    Attributes:
        since, before: the look compared with: its step and the domain's loss.
        expected: where the domain would be now, had its curve gone on as before; None if there
            were too few looks to tell.
        sequences: that were compared.
    """

    domain: str
    since: int
    before: float
    now: float
    change: float
    low: float
    high: float
    sequences: int
    expected: float | None = None


class Trend(Judgment, frozen=True):
    """Why the panel moves as it does, what is expected next, and whether that came true.

    Attributes:
        id: of one explanation; its later states cite it.
        state: "explained"; then "came true", "did not" (what would refute it has happened), or
            "gave way" to another explanation.
        pattern: name of the explanation, as of `steadytrain.causes`.
        is_expected: the movement follows from what was planned, and nothing need be done.
        domains: that it is about.
        begun: step of the event that it quotes.
        moves: of all domains that were compared.
        evidence, against: sentences, numbers in them.
        expected, due: what is expected next, and the step by which.
        refuted_by: what would show that it is wrong.
    """

    id: str
    state: Literal["explained", "came true", "did not", "gave way"]
    step: int
    pattern: str
    domains: tuple[str, ...]
    begun: int
    is_expected: bool
    moves: tuple[PanelMove, ...] = ()
    evidence: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    expected: str = ""
    due: int | None = None
    refuted_by: str = ""


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
    """Starting again here will not help; elsewhere it may, if `requeue`."""

    generation: int
    cause: str
    why: str
    requeue: bool = False


class RemedyDone(Deed, frozen=True):
    """A remedy was carried out; `step` is the last step kept, `restored_step` the state loaded."""

    remedy: str
    attempt: int
    step: int
    restored_step: int | None = None
    source: str | None = None
    seconds: float | None = None
