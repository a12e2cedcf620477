"""Replicas of a run under the real torchft: killed, hung, poisoned; the run is the one it would be."""

import pytest

from steadytrain import journal, replay
from steadytrain.events import (
    ReplicasChanged,
    RunEnded,
    StepRecord,
)
from steadytrain.train import Session
from tests.adapters import replica

pytest.importorskip("torchft", reason="needs pip install 'steadytrain[torchft]'")
from tests.adapters.replicas import Replicas

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
        words = (STEPS, "--pause", 0.15, "--together", 2)
        replicas.start("r0", *words)
        replicas.start("r1", *words, "--harm", "forward-kill@12", supervised=("--hang-after", "60"))
        assert replicas.wait() == {"r0": 0, "r1": 0}
        yield replicas


class TestKilledReplica:
    def test_the_survivor_goes_on_within_seconds(self, killed):
        next_update = next(one for one in killed.updates("r0") if one["step"] == 12)
        assert next_update["replicas"] == 1
        assert next_update["at"] - killed.struck("r1", "kill12") < 3.0

    def test_the_killed_one_comes_back_and_takes_part(self, killed):
        assert [one["replicas"] for one in killed.updates("r0")][-1] == 2
        healed = [
            one for one in journal.read(killed.out / "r1") if isinstance(one, ReplicasChanged)
        ]
        assert [one.healed for one in healed][-1]

    def test_the_parameters_are_those_of_the_run_without_a_death(self, killed, expected):
        assert killed.numbers("r0") == same(expected)
        assert killed.numbers("r0") == killed.numbers("r1")

    def test_every_sample_was_used_once(self, killed):
        spans = [(one.draw, one.draw_end) for one in records(killed.out / "r0")]
        assert spans == [(at * SEQUENCES, (at + 1) * SEQUENCES) for at in range(STEPS)]
        counted = [sum(one.sequences) for one in records(killed.out / "r0")]
        assert counted == [SEQUENCES] * STEPS

    def test_both_journals_replay_to_what_was_judged(self, killed):
        for name in ("r0", "r1"):
            for result in replay.replay(killed.out / name):
                assert result.differences == ()
            assert isinstance(list(journal.read(killed.out / name))[-1], RunEnded)
