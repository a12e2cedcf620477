"""Replicas that do not hold the same bits: who is wrong, and since when.

A majority of equal digests is right: that two memories go wrong in the same way is out of the
question. With two replicas nobody can tell, and where no two of three or more are alike, it is no
accident of one of them.
"""

import math
from collections import Counter
from collections.abc import Sequence

from steadytrain.events import (
    Advice,
    Alarm,
    BatchExamined,
    ReplicasCompared,
    RunBegan,
    UnlikeReplicas,
)
from steadytrain.judge.detectors import Detector
from steadytrain.judge.evidence import Unlike
from steadytrain.judge.state import State, amend, amend_case, rewind

SIGNALS = {"weights": "replica weights", "moments": "replica moments"}
"""Part of the state -> what an alarm calls it."""


def compare(
    state: State, event: ReplicasCompared, detector: Detector
) -> tuple[State, Unlike | None]:
    """What a comparison tells; a difference in a state that a restart repeats undoes what was
    judged after it."""
    if not event.unlike:
        case = state.case
        if case is not None and case.phase in ("verifying", "watching", "waiting", "proposed"):
            state = amend_case(state, case, unlike=None)
        return amend(state, agreed=event.step, compared_in=event.attempt), None
    if event.step < state.step:
        state = rewind(state, event.step, detector)
    agreed = state.agreed
    if agreed is not None and agreed >= event.step:
        agreed = max(0, event.step - 1)  # it was alike once, and is not as it was restored
    unlike = vote(
        event.unlike,
        [one.part for one in event.unlike],
        step=event.step,
        agreed=agreed,
        copies=event.copies,
    )
    return amend(state, agreed=agreed, compared_in=event.attempt), unlike


def examined(state: State, event: BatchExamined) -> Unlike | None:
    """How replicas differ, by the tensors that were compared one by one; or as was known before."""
    known = state.case.unlike if state.case is not None else None
    if not event.unlike:
        return known
    kinds = event.unlike_kinds
    parts = ("weights",) * ("weights" in kinds) + ("moments",) * any(kinds.keys() - {"weights"})
    return vote(
        event.unlike,
        parts,
        step=event.step if known is None else known.step,
        agreed=state.agreed if known is None else known.agreed,
        copies=event.copies or 2,
    )


def advice(event: RunBegan) -> tuple[Advice, ...]:
    """What is said of a run whose ranks hold nothing twice."""
    if event.world == 1 or event.copies != 1:
        return ()
    found = Advice(
        topic="replicas",
        text="No two ranks hold the same part of the model, so a memory or a kernel that changes a "
        "number silently is not seen before a loss or a norm shows it. DistributedDataParallel, or "
        "fully_shard on a mesh of two dimensions (replicas, shards), keeps copies to compare.",
    )
    return (found,)


def vote(
    unlike: Sequence[UnlikeReplicas],
    parts: Sequence[str],
    *,
    step: int,
    agreed: int | None,
    copies: int,
) -> Unlike:
    """Who holds something else than most.

    >>> told = UnlikeReplicas(part="weights", ranks=(0, 1, 2), digests=("a", "b", "a"))
    >>> vote([told], ["weights"], step=20, agreed=10, copies=3).suspects
    (1,)
    """
    named: set[int] = set()
    doubted: set[int] = set()
    has_twins = False
    for one in unlike:
        counts = Counter(one.digests)
        usual, most = counts.most_common(1)[0]
        has_twins = has_twins or most > 1
        if 2 * most > len(one.digests):
            named |= {
                rank for rank, digest in zip(one.ranks, one.digests, strict=True) if digest != usual
            }
        else:
            doubted |= set(one.ranks)
    # A part that a majority can tell tells who is wrong in the others as well.
    return Unlike(
        step=step,
        agreed=agreed,
        copies=copies,
        suspects=tuple(sorted(named or doubted)),
        is_named=bool(named),
        has_twins=has_twins,
        parts=tuple(dict.fromkeys(parts)),
    )


def alarms_of(event: ReplicasCompared, unlike: Unlike) -> tuple[Alarm, ...]:
    """An alarm for each part of the state that is not the same everywhere."""
    return tuple(
        Alarm(
            attempt=event.attempt, step=event.step, signal=SIGNALS[part],
            direction="differs", value=float(len(unlike.suspects)), expected=0.0, score=math.inf,
        )
        for part in unlike.parts
    )  # fmt: skip
