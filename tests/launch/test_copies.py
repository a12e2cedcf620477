"""A host is lost with all of its memory, and the run goes on from the copy that its neighbour has."""

import json
import shutil

import pytest

from steadytrain import journal
from steadytrain.events import AttemptBegan, CopiesLacking, StatesBrought, StepRecord
from steadytrain.replaying import replay
from tests.launch.test_allies import Run

COPIES = {"options": ("--neighbour-copies",)}
STEPS = 40


def _lose(run, at):
    """A host with its memory; on disk nothing is left but the state before the first step."""
    run.hosts[at].kill()
    shutil.rmtree(run.folder / f"shm{at}", ignore_errors=True)
    for path in (run.home / "checkpoints").iterdir():
        if json.loads((path / "manifest.json").read_text())["step"]:
            shutil.rmtree(path)


def _lives(run):
    return [one for one in journal.read(run.home) if isinstance(one, AttemptBegan)]


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    """What two hosts end with when nothing happens to them."""
    folder = tmp_path_factory.mktemp("untouched")
    with Run(folder, number=2, nnodes="2", harm="none", steps=STEPS) as run:
        assert [host.wait() for host in run.hosts] == [0, 0]
        return run.ends()[0]


@pytest.mark.slow
@pytest.mark.parametrize("lost", [1, 0], ids=["the second", "the first, which leads and serves"])
def test_a_lost_host_costs_the_steps_since_the_copy_and_no_bit(tmp_path, lost, untouched):
    with Run(
        tmp_path, number=2, nnodes="2", harm="pace", steps=STEPS, endpoints=2, **COPIES
    ) as run:
        run.hosts[0].wait_for("in its neighbour's memory too")
        run.wait_for_step(18)
        _lose(run, lost)
        run.hosts[lost] = run.begin(lost)
        assert [host.wait() for host in run.hosts] == [0, 0]
        (brought,) = run.of(StatesBrought)
        first, second = _lives(run)
        assert second.checkpoint == "shared memory"
        assert second.step == brought.step >= 10
        assert (brought.bytes > 0, brought.why) == (True, None)
        assert run.ends() == [untouched] * 2
        assert not run.of(CopiesLacking)
        run.insist_on_every_sequence_once()
        assert all(one.differences == () for one in replay(run.home))
        assert not [*tmp_path.glob("shm*/*")]


@pytest.mark.slow
def test_hosts_that_are_fewer_go_on_from_memory_where_every_rank_holds_all(tmp_path):
    with Run(tmp_path, number=3, nnodes="2:3", harm="pace", steps=60) as run:
        run.wait_for_step(18)
        _lose(run, 2)
        assert [host.wait() for host in run.hosts[:2]] == [0, 0]
        _, second = _lives(run)
        assert (second.checkpoint, second.world) == ("shared memory", 2)
        assert second.step >= 15
        made = [one.step for one in journal.read(run.home) if isinstance(one, StepRecord)]
        assert len(made) - 60 <= 5 + 1  # an interval of states, and the update under way
        run.insist_on_every_sequence_once()
