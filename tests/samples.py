"""One event of every kind, and records for the judge's tests."""

import math

from steadytrain import events as ev

NAN, INF = math.nan, math.inf

EVERY_KIND: tuple[ev.Event, ...] = (
    ev.RunBegan(
        run="r1", recipe={"near": 3.0}, domains=("zh", "en"), model="abc", parameters=7, world=2,
        draws_per_step=32, steps=100, panel="cafe", versions={"torch": "2.13.0"},
    ),
    ev.AttemptBegan(attempt=2, step=90, draw=2880, cause="restart", checkpoint="a0001-s00000090"),
    ev.RunEnded(attempt=2, step=100),
    ev.StepRecord(
        attempt=1, step=8, draw=224, draw_end=256, loss=NAN, nll=(1.5, INF), tokens=(10, 20),
        bytes=(10, 21), sequences=(1, 2), squares=(2.25, 0.1), committed=False, z_loss=1e-4,
        grad_norm=INF, update=0.0, lr=0.001, lr_planned=0.001, loss_scale=65536.0, loss_limit=9.0,
        grad_limit=3.0, worst=((230, 1, -INF), (231, 0, 2.0)), seconds=0.125,
    ),
    ev.PanelRecord(
        attempt=1, step=10, nll=(3.0, 4.0), tokens=(2, 2), bytes=(2, 2), losses=((1.0, 2.0), (2.0, NAN)),
        seconds=0.5,
    ),
    ev.CheckpointSaved(
        attempt=1, step=10, draw=320, path="checkpoints/a0001-s00000010", bytes=99, digest="d",
        seconds=0.2, blocked_seconds=0.01,
    ),
    ev.CheckpointFailed(attempt=1, step=20, reason="disk full"),
    ev.CheckpointRefused(path="checkpoints/a0001-s00000010", reason="torn"),
    ev.BatchExamined(
        incident="incident-1", attempt=1, step=12,
        sequences=(
            ev.ExaminedSequence(
                draw=5, step=11, domain=0, loss=8.0, z=INF, verdict="corrupt", defect="garbled",
                evidence="e", source="s:1",
            ),
            ev.ExaminedSequence(
                draw=6, step=11, domain=1, loss=2.0, z=0.1, verdict="clean", role="control",
            ),
        ),
        flagged=((5, 6), (9, 12)), flagged_domains=(0, 0), defect="garbled", scanned=64,
        suspect_now=3.0, suspect_before=2.9, control_now=2.0, control_before=2.1, before_step=10,
        weight_excess=0.1, moment_excess=0.5, moments_lost=0.0, seconds=0.3, path="p", digest="d",
    ),
    ev.JudgingEnded(step=3, reason="ValueError: x"),
    ev.JudgeState(step=3, state={"attempt": 1}),
    ev.WorkersStarted(generation=0, pids=(11, 12), step=5),
    ev.ProcessExited(
        generation=0, rank=1, pid=12, signal="SIGKILL", hung=True, phase="step",
        silent_seconds=9.5, step=7, error="e",
    ),
    ev.WorkersFinished(generation=1),
    ev.Heartbeat(generation=0, rank=0, step=4, phase="forward", silent_seconds=0.1),
    ev.Advice(topic="domains", text="t"),
    ev.Alarm(
        attempt=1, step=9, signal="loss:zh", direction="not finite", value=NAN, expected=2.0, score=INF,
    ),
    ev.Incident(
        id="incident-1", change="opened", attempt=1, step=9, onset=8, signals=("loss",),
        directions=("rise",), score=7.0, examine_at=11, reason="r",
    ),
    ev.Diagnosis(
        incident="incident-1", step=11,
        causes=(
            ev.Cause(
                name="bad text", confidence=0.95, evidence=("a",), against=("b",), refuted_by="c",
                domain="zh", defect="garbled",
            ),
        ),
    ),
    ev.Remedy(
        id="remedy-1", incident="incident-1", step=11, due=13, rung=0, cause="bad text",
        plan=(
            ev.RollBack(to_step=7),
            ev.SkipDraws(ranges=((5, 6),), from_step=7),
            ev.ScaleLearningRate(factor=0.5, from_step=7, hold_steps=8, rewarm_steps=32),
            ev.ScaleEpsilon(factor=0.1, from_step=7),
            ev.ScaleShallowGradients(alpha=0.1, from_step=7, hold_steps=8, relax_steps=20),
            ev.SetZLoss(coefficient=1e-4, from_step=7),
            ev.BeginDecay(from_step=7),
            ev.SkipUpdate(step=9),
            ev.AskPerson(question="q"),
        ),
        why="w",
    ),
    ev.Outcome(
        incident="incident-1", remedy="remedy-1", step=30, result="cured", steps=16, why="w",
    ),
    ev.Restart(generation=1, cause="killed by SIGKILL", wait_seconds=0.0, why="w"),
    ev.GiveUp(generation=3, cause="c", why="w"),
    ev.RemedyDone(
        remedy="remedy-1", attempt=1, step=7, restored_step=0, source="snapshot", seconds=0.1,
    ),
)


def began(domains: tuple[str, ...] = ("zh", "en", "code")) -> ev.RunBegan:
    return ev.RunBegan(
        run="r", recipe={}, domains=domains, model="m", parameters=1, world=1, draws_per_step=32,
    )


def record(step: int, losses: tuple[float, ...], *, attempt: int = 1, **changes) -> ev.StepRecord:
    """A step of 32 draws; losses per domain, equal tokens."""
    tokens = tuple(1000 for _ in losses)
    nll = tuple(loss * 1000 for loss in losses)
    fields = {
        "attempt": attempt,
        "step": step,
        "draw": (step - 1) * 32,
        "draw_end": step * 32,
        "loss": sum(nll) / sum(tokens),
        "nll": nll,
        "tokens": tokens,
        "bytes": tokens,
        "sequences": tuple(10 for _ in losses),
        "squares": tuple(loss**2 * 10 for loss in losses),
        "grad_norm": 1.0,
        "update": 1e-4,
        "lr": 1e-3,
        "lr_planned": 1e-3,
        "seconds": 0.1,
    }
    return ev.StepRecord(**(fields | changes))
