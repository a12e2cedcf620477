"""The policy of restarts: what ends it, what it waits for, and whom it believes."""

import pytest

from steadytrain.deaths import SORTS, is_victim, name_sort
from steadytrain.events import (
    GiveUp,
    Heartbeat,
    HostGone,
    HostsWaiting,
    ProcessExited,
    Restart,
    WorkersStarted,
)
from steadytrain.judge.restarts import RestartPolicy


def _death(generation=0, *, error=None, code=1, step=None, **more):
    return ProcessExited(
        generation=generation, rank=1, pid=7, code=code, error=error, step=step, **more
    )


class Story:
    """A run told to the policy: each death is followed by the start that was asked for."""

    def __init__(self, **changes):
        self.policy = RestartPolicy(**changes)
        self.tally = self.policy.init()
        self.generation = 0

    def dies(self, *, lived=False, **more):
        self._hear(WorkersStarted(generation=self.generation, pids=(7,)))
        if lived:
            beat = {"rank": 0, "step": None, "phase": "starting", "silent_seconds": 1.0}
            self._hear(Heartbeat(generation=self.generation, **beat))
        (judgment,) = self._hear(_death(self.generation, **more))
        self.generation += 1
        return judgment

    def _hear(self, event):
        self.tally, judgments = self.policy.update(self.tally, event)
        return judgments


@pytest.mark.parametrize(
    ("error", "sort"),
    [
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", "device memory"),
        ("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried", "host memory"),
        ("by the kernel's out-of-memory killer", "host memory"),
        ("AcceleratorError: CUDA error: uncorrectable ECC error encountered", "hardware"),
        ("RuntimeError: CUDA error: unspecified launch failure", "hardware"),
        ("OSError: [Errno 28] No space left on device: 'x'", "disk"),
        ("OSError: [Errno 5] Input/output error", "disk"),
        ("OSError: [Errno 116] Stale file handle", "disk"),
        ("RuntimeError: [../pair.cc:537] Read error [127.0.0.1]:4: Connection reset by peer", "peer"),
        ("DistBackendError: NCCL error in: x, remote process exited or there was a network error", "peer"),
        ("DistBackendError: NCCL error in: x, unhandled system error", "network"),
        ("DistNetworkError: The client socket has failed to connect", "network"),
        ("RuntimeError: DataLoader worker (pid 7) is killed by signal: Bus error. It is possible", "shared memory"),
        ("RuntimeError: DataLoader worker (pid(s) 7) exited unexpectedly", "loader"),
        ("ModuleNotFoundError: No module named 'apex'", "user"),
        ("train.py: error: unrecognized arguments: --learning-rat", "user"),
        ("SettingError: clip=-1 would stop every gradient.", "user"),
        ("RuntimeError: the tokenizer is gone", "unknown"),
    ],
)  # fmt: skip
def test_known_words_name_the_sort(error, sort):
    assert name_sort(_death(error=error)) == sort
    assert sort in SORTS


def test_the_exit_says_what_words_do_not():
    assert name_sort(_death(code=75)) == "requeue"
    assert name_sort(_death(code=93)) == "stop"
    assert name_sort(_death(code=None, signal="SIGKILL")) == "outside"
    assert name_sort(_death(code=None, signal="SIGSEGV")) == "unknown"
    assert name_sort(_death(code=None, hung=True)) == "hang"


def test_a_rank_that_lost_its_peer_is_a_victim_and_one_with_a_cause_is_not():
    assert is_victim(_death(error="RuntimeError: gloo: Connection closed by peer [::1]:1"))
    assert not is_victim(_death(error="ValueError: boom"))


def test_kills_from_outside_with_progress_between_them_are_free_and_waited_for_by_nobody():
    story = Story()
    judgments = [story.dies(code=None, signal="SIGKILL", step=10 * n) for n in range(1, 301)]
    assert all(isinstance(one, Restart) and one.wait_seconds == 0.0 for one in judgments)


def test_the_same_end_at_the_same_step_is_given_up_and_at_other_steps_goes_on():
    story = Story()
    ends = [story.dies(error="ValueError: boom", step=12) for _ in range(3)]
    assert [type(one) for one in ends] == [Restart, Restart, GiveUp]
    story = Story()
    ends = [story.dies(error="ValueError: boom", step=12 * n) for n in range(1, 30)]
    assert all(isinstance(one, Restart) for one in ends)


def test_a_hang_at_the_same_place_and_step_is_given_up():
    story = Story(max_stalled=99)
    ends = [
        story.dies(
            code=None, hung=True, phase="forward", silent_seconds=4.0 + n, step=12,
            error="in scrub, clean.py:9",
        )
        for n in range(3)
    ]  # fmt: skip
    assert [type(one) for one in ends] == [Restart, Restart, GiveUp]


def test_a_script_that_lives_but_tells_no_step_is_not_worn_out_by_its_budget_for_the_unknown():
    story = Story()
    ends = [story.dies(lived=True, error="RuntimeError: NCCL error") for _ in range(50)]
    assert all(isinstance(one, Restart) and one.wait_seconds == 0.0 for one in ends)


def test_a_script_that_never_begins_is_given_up_after_ten_restarts():
    story = Story(max_same_death=99)
    ends = [story.dies(code=None, signal="SIGKILL") for _ in range(11)]
    assert isinstance(ends[-1], GiveUp)
    assert all(isinstance(one, Restart) for one in ends[:-1])


def test_what_is_plainly_wrong_before_the_first_step_is_not_tried_again():
    given_up = Story().dies(error="ModuleNotFoundError: No module named 'apex'")
    assert isinstance(given_up, GiveUp)
    assert "wrong" in given_up.why


def test_the_same_words_after_steps_may_be_a_file_system_that_was_away():
    assert isinstance(
        Story().dies(error="ModuleNotFoundError: No module named 'a'", step=9), Restart
    )


def test_memory_that_ran_out_twice_at_one_step_is_given_up():
    story = Story()
    error = "OutOfMemoryError: CUDA out of memory."
    ends = [story.dies(error=error, step=40) for _ in range(2)]
    assert [type(one) for one in ends] == [Restart, GiveUp]
    assert "smaller batch" in ends[-1].why


def test_a_disk_gets_time():
    assert (
        Story().dies(error="OSError: [Errno 28] No space left on device", step=4).wait_seconds == 10
    )


def test_hardware_that_was_named_twice_is_left_to_another_host():
    story = Story()
    error = "AcceleratorError: CUDA error: uncorrectable ECC error encountered"
    first, second = story.dies(error=error, step=40), story.dies(error=error, step=90)
    assert isinstance(first, Restart)
    assert isinstance(second, GiveUp)
    assert second.requeue


def test_a_script_may_say_itself_what_is_to_be_done():
    assert Story().dies(code=75, step=3).requeue
    assert not Story().dies(code=93, step=3).requeue


def _lost(generation, step):
    return HostGone(
        generation=generation, host="node1", ranks=(1,), why="silent", silent_seconds=10.2,
        step=step,
    )  # fmt: skip


def test_a_lost_host_is_gone_on_without_and_progress_makes_that_free():
    policy, tally = RestartPolicy(), RestartPolicy().init()
    for generation in range(8):
        tally, _ = policy.update(tally, WorkersStarted(generation=generation, pids=(7, 8)))
        tally, (judgment,) = policy.update(tally, _lost(generation, 10 * generation + 5))
        assert isinstance(judgment, Restart)
        assert judgment.cause == "host node1 was silent for 10.2 s"
        # What the other ranks died of is no news.
        death = ProcessExited(generation=generation, rank=0, pid=7, code=1, error="Socket closed")
        assert policy.update(tally, death)[1] == ()


def test_hosts_that_cannot_keep_together_are_left_to_whoever_starts_jobs():
    policy, tally = RestartPolicy(), RestartPolicy().init()
    for generation in range(4):
        tally, _ = policy.update(tally, WorkersStarted(generation=generation, pids=(7, 8)))
        tally, (judgment,) = policy.update(tally, _lost(generation, 5))
    assert isinstance(judgment, GiveUp)
    assert judgment.requeue
    assert "the network between them" in judgment.why


def test_hosts_that_wait_are_let_in_and_that_costs_no_budget():
    policy, tally = RestartPolicy(), RestartPolicy().init()
    tally, _ = policy.update(tally, WorkersStarted(generation=0, pids=(7,)))
    tally, (judgment,) = policy.update(
        tally, HostsWaiting(generation=0, hosts=("node1", "node2"), step=9)
    )
    assert judgment == Restart(
        generation=1,
        cause="node1, node2 came and can be let in",
        wait_seconds=0.0,
        why="all ranks save and leave after the same step, so nothing is made again",
    )
    tally, _ = policy.update(tally, WorkersStarted(generation=1, pids=(7, 8, 9), step=11))
    assert (tally.is_restart, tally.num_stalled, tally.best) == (True, 0, 11)
