"""The age of the newest durable checkpoint is told when saves keep failing, from facts alone."""

from steadytrain.events import (
    Advice,
    AttemptBegan,
    CheckpointFailed,
    CheckpointSaved,
    RunBegan,
    StepRecord,
)
from steadytrain.judge.judge import Judge


def saved(step):
    return CheckpointSaved(
        attempt=1,
        step=step,
        draw=step,
        path="c",
        bytes=1,
        digest="d",
        seconds=1.0,
        blocked_seconds=0.1,
    )


def failed(step):
    return CheckpointFailed(attempt=1, step=step, reason="the disk is full")


def step(number):
    return StepRecord(
        attempt=1, step=number, draw=number - 1, draw_end=number, loss=2.0, nll=(2.0, 2.0),
        tokens=(1, 1), bytes=(1, 1), sequences=(1, 1), squares=(4.0, 4.0),
    )  # fmt: skip


BEGUN = RunBegan(
    run="r", recipe={}, domains=("a", "b"), model="m", parameters=1, world=1, draws_per_step=1
)


def told(saves, last, *, every=10, before=()):
    """Advice by step, for a run whose save at a step ends as `saves` says, a step later."""
    judge = Judge()
    state = judge.init()
    heard = {}
    events = [BEGUN, AttemptBegan(attempt=1, step=0, draw=0, cause="start"), *before]
    for number in range(1, last + 1):
        ended = saves.get(number - 1)
        events += [ended] if ended is not None else []
        events.append(step(number))
    at = 0
    for event in events:
        state, judgments = judge.update(state, event)
        at = event.step if isinstance(event, StepRecord) else at
        for one in judgments:
            if isinstance(one, Advice) and one.topic == "no durable checkpoint":
                heard[at] = one.text
    return heard


def test_a_run_whose_saves_succeed_hears_nothing():
    assert told({at: saved(at) for at in range(0, 100, 10)}, 100) == {}


def test_one_failure_is_made_up_for_by_the_next_save():
    saves = {0: saved(0), 10: saved(10), 20: failed(20), 30: saved(30), 40: saved(40)}
    assert told(saves, 45) == {}


def test_failures_in_a_row_are_told_with_age_and_reason_and_again_when_the_age_has_doubled():
    saves = {0: saved(0), 10: saved(10)} | {at: failed(at) for at in range(20, 120, 10)}
    heard = told(saves, 119)
    assert list(heard) == [31, 52, 94]
    first = heard[min(heard)]
    assert "21 steps old at step 31, as a rule one comes every 10" in first
    assert "2 saves in a row have failed, the last one because the disk is full" in first


def test_a_disk_that_hangs_is_told_without_any_failure():
    heard = told({0: saved(0), 10: saved(10)}, 60)
    assert min(heard) == 40
    assert "nothing was heard of it since" in heard[40]


def test_saves_that_fail_from_the_beginning_are_told():
    heard = told({at: failed(at) for at in range(0, 60, 10)}, 59)
    assert "No checkpoint has become durable in 20 steps" in heard[min(heard)]


def test_the_end_of_it_is_told_once():
    saves = {
        0: saved(0),
        10: saved(10),
        20: failed(20),
        30: failed(30),
        40: saved(40),
        50: saved(50),
    }
    heard = told(saves, 70)
    assert heard[max(heard)] == "A checkpoint is durable again, after step 40."
    assert len(heard) == 2


def test_a_new_process_may_save_at_another_interval():
    judge, state = Judge(), Judge().init()
    events = [BEGUN, AttemptBegan(attempt=1, step=0, draw=0, cause="start"), saved(0), saved(10)]
    events += [AttemptBegan(attempt=2, step=10, draw=10, cause="restart")]
    events += [step(number) for number in range(11, 200)]
    heard = []
    for event in events:
        state, judgments = judge.update(state, event)
        heard += judgments
    assert [one for one in heard if isinstance(one, Advice)] == []


def test_a_rollback_takes_the_checkpoints_after_it_along():
    judge, state = Judge(), Judge().init()
    for event in [BEGUN, saved(0), saved(10), saved(20)]:
        state, _ = judge.update(state, event)
    state, _ = judge.update(state, AttemptBegan(attempt=2, step=12, draw=12, cause="rollback"))
    assert (state.durability.saved, state.durability.asked) == (12, (0, 10))
