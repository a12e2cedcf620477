"""Which states are copied, and which are brought: pure, told made-up reports and stocks."""

import pytest

from steadytrain.launch.errands import LONG_SECONDS, Errand, find_moves, find_plan, go_on
from steadytrain.launch.letters import Report
from steadytrain.launch.stock import State

A, B, C = (1, 10, 120), (1, 20, 240), (1, 30, 360)


def _state(rank, key, *, world=2, is_copy=False, is_whole=False):
    return State(
        rank=rank, world=world, key=key, is_whole=is_whole, size=100, seal="0" * 32, name="x",
        is_copy=is_copy,
    )  # fmt: skip


def _reports(*keys, copied=None, **changes):
    """Of two hosts; `changes` are the second one's."""
    both = {"keys": keys, "copied": copied}
    return [Report(**both), Report(**(both | changes))]


class TestWhatIsCopied:
    def test_the_newest_that_every_host_has_and_that_was_trained_on_from(self):
        assert go_on(Errand(), _reports(A, B, C), slowest=25, now=5.0).copy == B
        assert go_on(Errand(), _reports(A, B, C, keys=(A,)), slowest=25, now=5.0).copy == A
        assert go_on(Errand(), _reports(A), slowest=10, now=5.0).copy is None  # not on record yet
        assert go_on(Errand(), _reports(A), slowest=None, now=5.0).copy is None

    def test_nothing_else_before_every_host_is_done(self):
        now = Errand(copy=A, began=5.0)
        assert go_on(now, [Report(copied=A), Report(keys=(A, B))], slowest=30, now=9.0) == now

    def test_what_every_neighbour_has_is_safe_and_a_pause_as_long_follows(self):
        done = go_on(Errand(copy=A, began=5.0), _reports(A, B, copied=A), slowest=30, now=9.0)
        assert (done.safe, done.safe_at, done.copy) == (A, 5.0, A)
        assert go_on(done, _reports(A, B, copied=A), slowest=30, now=12.0) == done
        again = go_on(done, _reports(A, B, copied=A), slowest=30, now=13.0)
        assert (again.safe, again.copy, again.ended) == (A, B, None)

    def test_a_state_that_one_host_had_no_more_is_not_safe(self):
        errand = Errand(copy=B, safe=A, began=5.0)
        found = go_on(errand, _reports(B, C, copied=B, missed=True), slowest=40, now=5.0)
        assert (found.safe, found.copy) == (A, C)

    def test_one_host_that_cannot_is_waited_for_a_while_and_then_gone_on_without(self):
        errand = Errand(copy=B, safe=A, began=0.0)
        lacking = _reports(A, B, copied=B, lacks="no room")
        found = go_on(errand, lacking, slowest=15, now=1.0)
        assert (found.safe, found.failing_since) == (A, 1.0)
        late = Errand(copy=B, safe=A, began=0.0, failing_since=1.0)
        assert go_on(late, lacking, slowest=15, now=1.0 + LONG_SECONDS).safe == B
        nobody = [Report(copied=B, lacks="no room")] * 2
        assert go_on(late, nobody, slowest=15, now=1.0 + LONG_SECONDS).safe == A

    def test_after_a_rollback_the_lower_step_is_the_newer_state(self):
        back = (2, 10, 120)
        errand = Errand(copy=C, safe=C, began=0.0, ended=0.0)
        assert go_on(errand, _reports(C, back, copied=C), slowest=40, now=9.0).copy == back


class TestWhatIsBrought:
    def test_the_newest_of_which_every_rank_has_its_own_somewhere(self):
        here = [_state(0, B), _state(0, C), _state(1, B, is_copy=True)]
        plan = find_plan([here, []], 2)
        assert (plan.key, plan.is_exact) == (B, True)
        moves = find_moves({0: here, 1: []}, plan, here=1, mine=[1])
        assert [(one.at, one.state.rank) for one in moves] == [(0, 1)]
        assert find_moves({0: here, 1: []}, plan, here=0, mine=[0]) == []

    def test_a_host_that_has_another_place_now_takes_its_ranks_from_where_they_are(self):
        # What was host 1 is host 0 now; it has rank 0's state as a copy, and rank 1's own.
        here = [_state(1, B), _state(0, B, is_copy=True)]
        plan = find_plan([here, []], 2)
        (own,) = find_moves({0: here, 1: []}, plan, here=0, mine=[0])
        assert (own.at, own.state.is_copy) == (0, True)
        (other,) = find_moves({0: here, 1: []}, plan, here=1, mine=[1])
        assert (other.at, other.state.rank) == (0, 1)

    def test_of_another_number_of_ranks_one_that_is_whole_will_do_for_a_host(self):
        here = [_state(0, B, world=3, is_whole=True), _state(1, B, world=3, is_copy=True,
                is_whole=True)]  # fmt: skip
        plan = find_plan([here, []], 2)
        assert (plan.key, plan.world, plan.is_exact) == (B, 3, False)
        assert find_moves({0: here, 1: []}, plan, here=0, mine=[0]) == []
        moves = find_moves({0: here, 1: []}, plan, here=1, mine=[1, 2])
        assert [one.state.rank for one in moves] == [1]

    @pytest.mark.parametrize(
        "stock",
        [[], [_state(0, B)], [_state(0, B, world=3), _state(1, B, world=3), _state(2, B, world=3)]],
        ids=["nothing", "one rank is missing", "parts of another number"],
    )
    def test_nothing_where_a_rank_would_have_none(self, stock):
        assert find_plan([stock, []], 2) is None
