"""Who is hung, who only waits, and who is slow: told from made-up boards, without a clock."""

from steadytrain.launch.pace import Pace
from steadytrain.launch.silence import Limits, Silence
from steadytrain.progress import Beat

LIMITS = Limits(floor_seconds=2.0, starting_seconds=20.0)


def _beat(number, step, phase, own_seconds=0.0, clock=0.0):
    return Beat(
        pid=7, generation=0, step=step, phase=phase, clock=clock, beats=number,
        own_seconds=own_seconds,
    )  # fmt: skip


def _warm(num_ranks=2, *, steps=10, phases=("data", "forward", "backward", "step", "loop")):
    """Ranks that made some quick steps together; returns what they are silent since, and a count."""
    silence = Silence(limits=LIMITS)
    silence.begin(range(num_ranks))
    number = 0
    for step in range(steps):
        for phase in phases:
            number += 1
            silence.look([_beat(number, step, phase)] * num_ranks, gap_seconds=0.01)
    return silence, number


def _stay(silence, beats, seconds, **more):
    for _ in range(round(seconds / 0.5)):
        silence.look(beats, gap_seconds=0.5, **more)


def test_a_rank_that_stays_in_a_phase_of_every_step_is_hung_after_the_floor():
    silence, number = _warm()
    beats = [_beat(number + 1, 10, "backward"), _beat(number + 1, 10, "forward")]
    _stay(silence, beats, 2.0)
    assert silence.hung() == []
    _stay(silence, beats, 1.0)
    assert {rank.number for rank in silence.hung()} == {0, 1}


def test_the_users_own_code_between_steps_may_evaluate_for_long():
    silence, number = _warm()
    beats = [_beat(number + 1, 10, "loop")] * 2
    _stay(silence, beats, 19.0)
    assert silence.hung() == []
    _stay(silence, beats, 2.0)
    assert silence.hung()


def test_a_first_evaluation_and_a_first_checkpoint_may_take_ten_times_the_floor():
    for phase in ("evaluation", "checkpoint", "panel", "examine"):
        silence, number = _warm()
        _stay(silence, [_beat(number + 1, 10, phase)] * 2, 19.0)
        assert silence.hung() == []


def test_the_first_steps_may_take_ten_times_the_floor():
    silence, number = _warm(steps=3)
    _stay(silence, [_beat(number + 1, 3, "forward")] * 2, 19.0)
    assert silence.hung() == []


def test_a_slow_rank_that_moves_teaches_its_pace_and_is_never_hung():
    silence, number = _warm()
    for step in range(10, 30):
        for phase in ("data", "forward", "backward", "step"):
            number += 1
            beats = [_beat(number, step, phase)] * 2
            for _ in range(3):
                silence.look(beats, gap_seconds=0.5)
                assert silence.hung() == []


def test_a_rank_that_waits_for_one_that_may_be_slow_is_not_hung():
    silence, number = _warm()
    beats = [_beat(number + 1, 10, "checkpoint"), _beat(number + 1, 10, "step")]
    _stay(silence, beats, 15.0)
    assert silence.hung() == []


def test_a_start_that_computes_or_reads_is_not_hung_and_one_that_does_nothing_is():
    silence = Silence(limits=LIMITS)
    silence.begin(range(2))
    _stay(silence, [None, None], 100.0, active={0, 1})
    assert silence.hung() == []
    _stay(silence, [None, None], 30.0, active={0})
    assert [rank.number for rank in silence.hung()] == []  # rank 0 is busy, and not ahead
    _stay(silence, [None, None], 30.0)
    assert {rank.number for rank in silence.hung()} == {0, 1}


def _run_pace(own_per_step, *, step_seconds=1.0, steps=100, pace=None):
    pace = pace or Pace()
    pace.begin(3)
    found = []
    for step in range(steps):
        beats = [
            _beat(step + 1, step, "data", own_seconds=own * step, clock=step * step_seconds)
            for own in own_per_step
        ]
        found += pace.look(beats)
    return found


def test_a_rank_three_times_as_slow_is_told_once_with_both_times():
    (found,) = _run_pace([0.2, 0.6])
    assert (found.rank, found.generation, found.seconds, found.others_seconds) == (1, 3, 0.6, 0.2)
    assert found.step - found.first >= 20


def test_ranks_of_one_pace_are_not_told():
    assert _run_pace([0.2, 0.3, 0.25, 0.22]) == []


def test_a_difference_that_hardly_makes_the_step_longer_is_not_told():
    assert _run_pace([0.001, 0.01]) == []


def test_one_rank_has_nobody_to_be_compared_with():
    assert _run_pace([0.9]) == []


def test_a_rollback_begins_the_comparison_anew():
    pace = Pace()
    pace.begin(0)
    assert [pace.look([_beat(1, step, "data")] * 2) for step in (0, 10, 3, 4, 40)][-1] == []
