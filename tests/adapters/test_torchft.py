"""Replicas of a run under the real torchft: killed, hung, poisoned; the run is the one it would be."""

import time
from types import SimpleNamespace

import pytest

from steadytrain import journal, replay
from steadytrain.errors import SettingError
from steadytrain.events import (
    AttemptBegan,
    ProcessExited,
    ReplicasChanged,
    RunEnded,
    StepRecord,
)
from steadytrain.train import Feed, Ranks, Session
from tests.adapters import replica

pytest.importorskip("torchft", reason="needs pip install 'steadytrain[torchft]'")
from steadytrain.adapters.torchft import Replica
from tests.adapters.fleet import Replicas

STEPS = 40
SEQUENCES = replica.BATCH * replica.ACCUMULATE


def undisturbed(home, *, steps=STEPS):
    """The same run in one process without torchft: parameters."""
    model, feed = replica.parts()
    optimizer = replica.optimizer_of(model)
    with Session(
        model,
        optimizer,
        feed,
        home=home,
        steps=steps,
        schedule=replica.schedule(steps),
        fence=False,
    ) as run:
        for batch in run:
            run.backward_losses(replica.losses(model, batch), batch)
            run.step()
    return replica.digest(model)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return undisturbed(tmp_path_factory.mktemp("undisturbed"))


def records(home):
    return [one for one in journal.read(home) if isinstance(one, StepRecord)]


def same(expected):
    """Float64: another number of replicas adds in another order, which is rounding only."""
    return pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    with Replicas(tmp_path_factory.mktemp("killed")) as replicas:
        words = (STEPS, "--pause", 0.1, "--together", 2)
        replicas.start("r0", *words)
        replicas.start("r1", *words, "--harm", "forward-kill@12", supervised=("--hang-after", "60"))
        assert replicas.wait() == {"r0": 0, "r1": 0}
        yield replicas


def changes(home):
    return [one for one in journal.read(home) if isinstance(one, ReplicasChanged)]


def pause_after(run, name, struck):
    """From a moment to this replica's next update. [seconds]"""
    return next(one["at"] for one in run.updates(name) if one["at"] > struck) - struck


class TestKilledReplica:
    def test_the_survivor_goes_on_within_seconds(self, killed):
        assert pause_after(killed, "r0", killed.struck("r1", "forward-kill12")) < 4.0

    def test_the_killed_one_is_started_again_and_takes_part(self, killed):
        last = changes(killed.out / "r1")[-1]
        assert (last.healed, last.replicas) == (True, 2)
        begun = [one for one in journal.read(killed.out / "r1") if isinstance(one, AttemptBegan)]
        assert begun[-1].checkpoint == "another replica"
        assert begun[-1].draw == SEQUENCES * begun[-1].step

    def test_the_update_that_was_lost_is_on_record(self, killed):
        assert sum(one.discarded for one in changes(killed.out / "r0")) >= 1

    def test_the_parameters_are_those_of_the_run_without_a_death(self, killed, expected):
        assert killed.numbers("r0") == same(expected)
        assert killed.numbers("r0") == killed.numbers("r1")

    def test_every_sample_was_used_once(self, killed):
        spans = [(one.draw, one.draw_end) for one in records(killed.out / "r0")]
        assert spans == [(at * SEQUENCES, (at + 1) * SEQUENCES) for at in range(STEPS)]
        assert [sum(one.sequences) for one in records(killed.out / "r0")] == [SEQUENCES] * STEPS

    def test_both_journals_replay_to_what_was_judged(self, killed):
        for name in ("r0", "r1"):
            assert all(one.differences == () for one in replay(killed.out / name))
            assert isinstance(list(journal.read(killed.out / name))[-1], RunEnded)


@pytest.mark.slow
@pytest.mark.parametrize("wrapped", [(), ("--ddp",)], ids=["bare", "torchft's DDP"])
def test_a_survivor_ends_the_run_alone_and_as_it_would_have_ended(tmp_path, expected, wrapped):
    with Replicas(tmp_path) as replicas:
        words = (STEPS, "--together", 2, *wrapped)
        replicas.start("r0", *words)
        replicas.start("r1", *words, "--harm", "forward-kill@12")
        assert replicas.wait() == {"r0": 0, "r1": -9}
        assert {one["replicas"] for one in replicas.updates("r0")[12:]} == {1}
        assert replicas.numbers("r0") == same(expected)


def test_a_hang_in_python_is_ended_by_its_own_supervisor_and_by_no_other(tmp_path, expected):
    with Replicas(tmp_path) as replicas:
        words = (STEPS, "--pause", 0.1, "--together", 2)
        supervised = ("--hang-after", "3")
        replicas.start("r0", *words, supervised=supervised)
        replicas.start("r1", *words, "--harm", "forward-hang@12", supervised=supervised)
        assert replicas.wait() == {"r0": 0, "r1": 0}
        struck = replicas.struck("r1", "forward-hang12")
        assert pause_after(replicas, "r0", struck) < 3.0 + 4.0
        exits = {
            name: [one for one in journal.read(tmp_path / name, "supervisor") if _is_exit(one)]
            for name in ("r0", "r1")
        }
        assert exits["r0"] == []
        (hung,) = exits["r1"]
        assert (hung.hung, hung.phase, hung.step) == (True, "forward", 11)
        assert replicas.numbers("r0") == same(expected)
        assert replicas.numbers("r0") == replicas.numbers("r1")


@pytest.mark.parametrize("harm", ["nan", pytest.param("absurd", marks=pytest.mark.slow)])
def test_a_poisoned_update_of_one_replica_lands_in_none(tmp_path, harm):
    with Replicas(tmp_path) as replicas:
        words = (STEPS, "--together", 2)
        replicas.start("r0", *words)
        replicas.start("r1", *words, "--harm", f"loss-{harm}@30")
        assert replicas.wait() == {"r0": 0, "r1": 0}
        for name in ("r0", "r1"):
            told = records(tmp_path / name)
            assert [one.step for one in told if not one.committed] == [30]
            assert told[-1].draw_end == STEPS * SEQUENCES  # its samples are not drawn again
            assert sum(one.discarded for one in changes(tmp_path / name)) == 0
        assert replicas.numbers("r0") == replicas.numbers("r1")


@pytest.mark.slow
def test_all_replicas_die_and_go_on_from_their_checkpoints(tmp_path, expected):
    with Replicas(tmp_path, min_replicas=2) as replicas:
        words = (STEPS, "--together", 2, "--checkpoint-every", 10, "--min-replicas", 2)
        for name in ("r0", "r1"):
            kill = ("--harm", "forward-kill@25")
            replicas.start(name, *words, *kill, supervised=("--hang-after", "60"))
        assert replicas.wait() == {"r0": 0, "r1": 0}
        begun = [one for one in journal.read(tmp_path / "r0") if isinstance(one, AttemptBegan)]
        assert any(one.step == 20 and one.cause == "restart" for one in begun)
        assert replicas.numbers("r0") == same(expected)
        assert all(one.differences == () for one in replay(tmp_path / "r0"))


@pytest.mark.slow
def test_a_lighthouse_that_is_started_again_costs_a_pause(tmp_path, expected):
    with Replicas(tmp_path) as replicas:
        for name in ("r0", "r1"):
            replicas.start(name, STEPS, "--pause", 0.1, "--together", 2)
        replicas.wait_for_step("r0", 10, seconds=200)
        replicas.darken()
        time.sleep(2.0)
        replicas.light()
        assert replicas.wait() == {"r0": 0, "r1": 0}
        assert any("asking again" in one.get("said", "") for one in replicas.lines("r0"))
        assert replicas.numbers("r0") == same(expected)
        assert replicas.numbers("r0") == replicas.numbers("r1")


@pytest.mark.slow
def test_a_replica_of_two_sharded_ranks_dies_and_is_healed(tmp_path, expected):
    with Replicas(tmp_path) as replicas:
        words = (STEPS, "--pause", 0.1, "--together", 2)
        for name, harm in (("r0", ()), ("r1", ("--harm", "forward-kill@12"))):
            replicas.start(name, *words, *harm, supervised=("--hang-after", "60"), nproc=2)
        assert replicas.wait() == {"r0": 0, "r1": 0}
        assert changes(tmp_path / "r1")[-1].healed
        assert replicas.numbers("r0") == same(expected)
        assert replicas.numbers("r0") == replicas.numbers("r1")


def refused(tmp_path, *, model=None, feed=None, ranks=None, uses_async_quorum=False):
    """What `Replica` says to these parts; torchft's manager is not reached."""
    made = SimpleNamespace(_use_async_quorum=uses_async_quorum)
    small, whole = replica.parts()
    with pytest.raises(SettingError) as caught:
        Replica(
            made,
            model or small,
            replica.optimizer_of(small),
            feed or whole,
            home=tmp_path,
            steps=10,
            ranks=ranks,
        )
    return str(caught.value)


def test_a_quorum_that_comes_after_the_data_is_refused(tmp_path):
    assert "use_async_quorum=False" in refused(tmp_path, uses_async_quorum=True)


def test_a_feed_of_one_rank_among_several_is_refused(tmp_path):
    feed = Feed(replica.Letters(), batch_size=3, rank=0, world=2)
    assert "without rank= and world=" in refused(tmp_path, feed=feed)


def test_ranks_that_nothing_averages_are_refused(tmp_path):
    ranks = Ranks()
    ranks.world = 2
    assert "Write fully_shard(model)" in refused(tmp_path, ranks=ranks)


def _is_exit(event):
    return isinstance(event, ProcessExited)
