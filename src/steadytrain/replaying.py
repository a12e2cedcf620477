"""The same judge over a journal: every judgment, reached again from the facts and deeds."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from steadytrain import codec, journal
from steadytrain.errors import JournalError
from steadytrain.events import (
    AttemptBegan,
    Event,
    Incident,
    JudgeState,
    JudgingEnded,
    Judgment,
    Proposal,
    Remedy,
    RunBegan,
    RunBranched,
)
from steadytrain.judge.judge import Judge
from steadytrain.judge.restarts import RestartPolicy
from steadytrain.judge.state import State, thaw


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A judgment on record beside the one reached again, as JSON; None where there is none."""

    index: int
    recorded: str | None
    reached: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """What a replay of one writer's journal gave."""

    writer: str
    events: int
    judgments: int
    differences: tuple[Difference, ...]


def recall(
    judge: Judge, past: list[Event], *, from_saved_state: bool = False
) -> Iterator[tuple[Event | None, tuple[Judgment, ...], State]]:
    """Judge past facts and deeds again, oldest first: (event, judgments, state after it).

    Recorded judgments are passed over, and what a judge failed at: it begins afresh behind it. A
    memory that was adopted from another replica takes the place of what was reached here.

    Args:
        from_saved_state: begin where `memory_begins`, instead of at the first line.
    """
    state = judge.init()
    start = memory_begins(past) if from_saved_state else 0
    if start and isinstance(saved := past[start - 1], JudgeState):
        state = thaw(saved.state)
    yield None, (), state
    fatal = {at - 1 for at, event in enumerate(past) if isinstance(event, JudgingEnded)}
    for at, event in enumerate(past[start:], start):
        if isinstance(event, JudgingEnded):
            state = _begin_afresh(judge, past, at)
            yield event, (), state
        elif isinstance(event, JudgeState) and event.adopted:
            state = thaw(event.state)
            yield event, (), state
        elif not isinstance(event, Judgment) and at not in fatal:
            state, judgments = judge.update(state, event)
            yield event, judgments, state


def memory_begins(past: list[Event]) -> int:
    """Index from which on past lines matter to the judge's memory: behind the newest `JudgeState`,
    or at the line that says that a judge has failed, if that is newer."""
    start = 0
    for index, event in enumerate(past):
        if isinstance(event, JudgeState):
            start = index + 1
        elif isinstance(event, JudgingEnded):
            start = index
    return start


def replay(home: Path) -> tuple[Replay, ...]:
    """Reach every judgment of a run again, byte for byte; one result per writer.

    Raises:
        JournalError: the home holds no run.
    """
    found = journal.writers(home)
    if "rank0" not in found and "supervisor" not in found:
        raise JournalError(
            f"{home} holds no journal of a run, so there is nothing to replay. "
            "Give the folder that the run was started with, such as runs/r1."
        )
    results = []
    if "rank0" in found:
        past = journal.load(home, "rank0")
        judge = recipe_of(past)
        reached = [one for _, judgments, _ in recall(judge, past) for one in judgments]
        results.append(_compare("rank0", past, reached))
    if "supervisor" in found:
        past = journal.load(home, "supervisor")
        policy = RestartPolicy()
        memory = policy.init()
        reached = []
        for event in past:
            if not isinstance(event, Judgment):
                memory, judgments = policy.update(memory, event)
                reached += judgments
        results.append(_compare("supervisor", past, reached))
    return tuple(results)


def recipe_of(past: list[Event]) -> Judge:
    """The judge that a journal was written with.

    Raises:
        JournalError: no `RunBegan` line, or a recipe of another version.
    """
    for event in past:
        if isinstance(event, RunBegan):
            try:
                return msgspec.convert(event.recipe, Judge)
            except msgspec.ValidationError as error:
                raise JournalError(
                    f"the recipe in this journal is not one of this version ({error}), so its "
                    "judgments cannot be reached again. Replay it with the version that wrote it."
                ) from error
    raise JournalError(
        "the journal has no RunBegan line, so its recipe is unknown. The run was killed before "
        "its first line, or the journal's first file is missing: restore it from a copy."
    )


def _begin_afresh(judge: Judge, past: list[Event], end: int) -> State:
    """The state of a judge that knows nothing but the run, and which names are taken."""
    state = judge.init()
    remedies = incidents = 0
    for at, event in enumerate(past):
        if isinstance(event, RunBegan | AttemptBegan | RunBranched):
            state, _ = judge.update(state, event)
        elif at < end and isinstance(event, Incident):
            incidents = max(incidents, _number(event.id))
        elif at < end and isinstance(event, Remedy | Proposal):
            remedies = max(remedies, _number(event.id))
    return msgspec.structs.replace(state, num_remedies=remedies, num_incidents=incidents)


def _number(name: str) -> int:
    return int(name.rpartition("-")[2])


def _compare(writer: str, past: list[Event], reached: list[Judgment]) -> Replay:
    recorded = [event for event in past if isinstance(event, Judgment)]
    differences = []
    for index in range(max(len(recorded), len(reached))):
        before = _json(recorded, index)
        again = _json(reached, index)
        if before != again:
            differences.append(Difference(index=index, recorded=before, reached=again))
    return Replay(
        writer=writer,
        events=len(past),
        judgments=len(recorded),
        differences=tuple(differences),
    )


def _json(judgments: list[Judgment], index: int) -> str | None:
    # Compared as JSON, since NaN is not equal to itself.
    return codec.encode(judgments[index]).decode() if index < len(judgments) else None
