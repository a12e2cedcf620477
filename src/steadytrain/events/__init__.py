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

from steadytrain.events.evidence import (
    BatchExamined,
    ExaminedSequence,
    Trial,
    TrialDone,
)
from steadytrain.events.judgments import (
    Advice,
    Alarm,
    Cause,
    Diagnosis,
    GiveUp,
    Incident,
    Outcome,
    PanelMove,
    PanelWanted,
    Proposal,
    Remedy,
    RemedyDone,
    Restart,
    Trend,
    TrialWanted,
)
from steadytrain.events.kinds import Deed, Event, Fact, Judgment
from steadytrain.events.processes import (
    Heartbeat,
    HostGone,
    HostsWaiting,
    ProcessExited,
    Straggler,
    WorkersFinished,
    WorkersStarted,
)
from steadytrain.events.replicas import ReplicasCompared, UnlikeReplicas
from steadytrain.events.telling import AlertAcknowledged, AlertSent
from steadytrain.events.training import (
    AttemptBegan,
    CheckpointFailed,
    CheckpointMirrored,
    CheckpointRefused,
    CheckpointSaved,
    JudgeState,
    JudgingEnded,
    MirrorFailed,
    OptimizerSettings,
    PanelDrawn,
    PanelRecord,
    PersonSaid,
    ReplicasChanged,
    RestoreVerified,
    RunBegan,
    RunBranched,
    RunEnded,
    StepRecord,
)

__all__ = [
    "KINDS",
    "Advice",
    "Alarm",
    "AlertAcknowledged",
    "AlertSent",
    "AttemptBegan",
    "BatchExamined",
    "Cause",
    "CheckpointFailed",
    "CheckpointMirrored",
    "CheckpointRefused",
    "CheckpointSaved",
    "Deed",
    "Diagnosis",
    "Event",
    "ExaminedSequence",
    "Fact",
    "GiveUp",
    "Heartbeat",
    "HostGone",
    "HostsWaiting",
    "Incident",
    "JudgeState",
    "JudgingEnded",
    "Judgment",
    "MirrorFailed",
    "OptimizerSettings",
    "Outcome",
    "PanelDrawn",
    "PanelMove",
    "PanelRecord",
    "PanelWanted",
    "PersonSaid",
    "ProcessExited",
    "Proposal",
    "Remedy",
    "RemedyDone",
    "ReplicasChanged",
    "ReplicasCompared",
    "Restart",
    "RestoreVerified",
    "RunBegan",
    "RunBranched",
    "RunEnded",
    "StepRecord",
    "Straggler",
    "Trend",
    "Trial",
    "TrialDone",
    "TrialWanted",
    "UnlikeReplicas",
    "WorkersFinished",
    "WorkersStarted",
]

KINDS: tuple[type[Event], ...] = (
    RunBegan,
    AttemptBegan,
    RunEnded,
    OptimizerSettings,
    StepRecord,
    ReplicasCompared,
    PanelDrawn,
    PanelRecord,
    CheckpointSaved,
    CheckpointFailed,
    CheckpointMirrored,
    CheckpointRefused,
    BatchExamined,
    RestoreVerified,
    RunBranched,
    PersonSaid,
    TrialDone,
    JudgingEnded,
    MirrorFailed,
    JudgeState,
    ReplicasChanged,
    WorkersStarted,
    ProcessExited,
    WorkersFinished,
    Heartbeat,
    Straggler,
    HostGone,
    HostsWaiting,
    Advice,
    Alarm,
    Incident,
    Diagnosis,
    Remedy,
    Proposal,
    PanelWanted,
    Trend,
    TrialWanted,
    Outcome,
    Restart,
    GiveUp,
    RemedyDone,
    AlertAcknowledged,
    AlertSent,
)
"""Every kind that a journal may hold. Adding one needs a golden line in tests/golden/events/."""
