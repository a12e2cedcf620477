"""Ranks and processes of a run: where each is, what died, what hung and where it stood."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from steadytrain import progress
from steadytrain.board.copies import replicas
from steadytrain.board.passages import inside
from steadytrain.board.stories import line
from steadytrain.board.watched import Watched
from steadytrain.errors import JournalError
from steadytrain.events import (
    AttemptBegan,
    BatchExamined,
    CheckpointFailed,
    CheckpointRefused,
    CheckpointSaved,
    CopiesLacking,
    GiveUp,
    Heartbeat,
    HostGone,
    HostsWaiting,
    JudgingEnded,
    MirrorFailed,
    ProcessExited,
    Restart,
    StatesBrought,
    WorkersFinished,
    WorkersStarted,
)
from steadytrain.sayings import translated

MOST_STACK_BYTES = 64 << 10


def machines(one: Watched, lang: str) -> dict[str, Any]:
    """Ranks, starts of all ranks, exits, checkpoints and the slowest steps."""
    return {
        "ranks": _ranks(one),
        "generations": _generations(one, lang),
        "story": _in_time([
            told
            for number, noted in enumerate(one.events)
            if isinstance(
                noted.event,
                ProcessExited | Restart | GiveUp | WorkersStarted | WorkersFinished | JudgingEnded
                | CheckpointRefused | CheckpointFailed | MirrorFailed | HostGone | HostsWaiting
                | StatesBrought | CopiesLacking,
            )
            or (isinstance(noted.event, AttemptBegan) and noted.event.cause != "start")
            if (told := line(number, noted, lang)) is not None
        ]),
        "checkpoints": _checkpoints(one),
        "replicas": replicas(one, lang),
        "stacks": stacks(one.home),
        "speed": _speed(one),
        "unlike_ranks": sorted(
            {rank for _, event in one.of(BatchExamined) for rank in event.unlike_ranks}
        ),
    }  # fmt: skip


def _in_time(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines of several writers by the clock."""
    return sorted(told, key=lambda one: float(one["at"]))


def stacks(home: Path) -> list[dict[str, Any]]:
    """What the processes wrote of their stacks when they hung, newest first."""
    found: list[dict[str, Any]] = []
    folder = Path(home) / "stacks"
    for path in folder.glob("*.txt") if folder.is_dir() else ():
        try:
            inside(home, f"stacks/{path.name}")
            state = path.stat()
            with open(path, "rb") as file:
                body = file.read(MOST_STACK_BYTES)
        except (OSError, JournalError):
            continue
        if body.strip():
            found.append(
                {
                    "name": path.stem,
                    "at": state.st_mtime,
                    "text": body.decode(errors="replace"),
                    "more": max(0, state.st_size - len(body)),
                }
            )
    return sorted(found, key=lambda told: float(told["at"]), reverse=True)[:40]


def _ranks(one: Watched) -> list[dict[str, Any]]:
    """Each rank as its progress board and the supervisor last said; boards of this host alone."""
    world = one.began.world if one.began is not None else 1
    exits: dict[int, list[float]] = {}
    for noted, exited in one.of(ProcessExited):
        exits.setdefault(exited.rank, []).append(noted.at)
    started, hosts = max(
        ((noted.at, event.hosts) for noted, event in one.of(WorkersStarted)), default=(0.0, ())
    )
    gone = {event.host for noted, event in one.of(HostGone) if noted.at > started}
    boards = {
        int(path.stem.removeprefix("rank")): path
        for path in (one.home / progress.FOLDER).glob("rank*.board")
        if path.stem.removeprefix("rank").isdigit()
    }
    found = []
    for rank in sorted({*range(world), *boards})[:4096]:
        beat = progress.read_board(boards[rank]) if rank in boards else None
        heard = one.heartbeats.get(rank)
        event = heard.event if heard is not None else None
        ago = _seconds_since(beat, boards.get(rank))
        left = exits.get(rank, [])
        found.append(
            {
                "rank": rank,
                "host": hosts[rank] if rank < len(hosts) else None,
                "step": beat.step if beat is not None else None,
                "phase": beat.phase if beat is not None else None,
                "generation": beat.generation if beat is not None else None,
                "pid": beat.pid if beat is not None else None,
                "silent": ago,
                "heard_at": heard.at if heard is not None else None,
                "heard_silent": event.silent_seconds if isinstance(event, Heartbeat) else None,
                "exits": len(left),
                "died": (bool(left) and left[-1] > started)
                or (rank < len(hosts) and hosts[rank] in gone),
            }
        )
    return found


def _seconds_since(beat: progress.Beat | None, path: Path | None) -> float | None:
    """Since the last beat; None if it was given on another host, or before this one started."""
    if beat is None or path is None:
        return None
    ago = time.monotonic() - beat.clock
    try:
        written = time.time() - path.stat().st_mtime
    except OSError:
        return None
    # A clock of another host has another beginning: the file's own time tells.
    return ago if ago >= 0 and ago < written + 3600 else None


def _generations(one: Watched, lang: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    kinds = (WorkersStarted, WorkersFinished, ProcessExited, HostGone)
    for noted in sorted((noted for noted, _ in one.of(*kinds)), key=lambda noted: noted.at):
        match noted.event:
            case WorkersStarted():
                found.append(
                    {"number": noted.event.generation, "at": noted.at, "until": None, "causes": [],
                     "ranks": len(noted.event.pids), "step": noted.event.step, "is_finished": False,
                     "hosts": list(dict.fromkeys(noted.event.hosts))}
                )  # fmt: skip
            case HostGone() if found:
                found[-1]["causes"].append(
                    {"host": noted.event.host, "ranks": _spans(noted.event.ranks),
                     "how": noted.event.why, "step": noted.event.step}
                )  # fmt: skip
                found[-1]["until"] = noted.at
            case WorkersFinished() if found:
                found[-1]["until"], found[-1]["is_finished"] = noted.at, True
            case ProcessExited() if found:
                event = translated(noted.event, lang)
                how = "hung" if event.hung else event.signal or f"status {event.code}"
                found[-1]["causes"].append(
                    {"rank": event.rank, "how": how, "step": event.step, "error": event.error}
                )
                found[-1]["until"] = noted.at
    return found


def _spans(ranks: Sequence[int]) -> str:
    """Numbers in rising order, those in a row as their ends."""
    rows: list[list[int]] = []
    for rank in sorted(ranks):
        if rows and rank == rows[-1][-1] + 1:
            rows[-1][1:] = [rank]
        else:
            rows.append([rank])
    return ", ".join("-".join(map(str, row)) for row in rows)


def _checkpoints(one: Watched) -> dict[str, Any]:
    saved = [event for _, event in one.of(CheckpointSaved)]
    return {
        "saved": len(saved),
        "failed": len(list(one.of(CheckpointFailed))),
        "refused": len(list(one.of(CheckpointRefused))),
        "seconds": _median([event.seconds for event in saved]),
        "blocked": _median([event.blocked_seconds for event in saved]),
        "bytes": saved[-1].bytes if saved else None,
        "newest": saved[-1].path if saved else None,
    }


def _speed(one: Watched) -> dict[str, Any]:
    """Seconds of a step: the usual, the slow ones, and which were slowest."""
    seconds = one.track.number("seconds")
    known = np.isfinite(seconds)
    if known.sum() < 8:
        return {"usual": None, "slow": None, "slowest": []}
    values = seconds[known]
    rows = np.flatnonzero(known)[np.argsort(values)[::-1][:8]]
    steps = one.track.number("step")
    return {
        "usual": float(np.median(values)),
        "slow": float(np.quantile(values, 0.99)),
        "slowest": [[int(steps[row]), float(seconds[row])] for row in rows],
    }


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None
