"""Real supervised runs: killed, frozen, hopeless; one rank and two."""

import json
import sys
from pathlib import Path

import pytest

from steadytrain import journal
from steadytrain.events import GiveUp, ProcessExited, Restart, WorkersFinished
from steadytrain.launch.supervisor import Supervisor
from steadytrain.replaying import replay
from tests import rig

ROOT = Path(__file__).parents[2]

TRAIN = """
import json, os, signal, sys
from pathlib import Path
from steadytrain.train import Ranks
from tests import rig

home, out, harm, rank_to_harm = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
ranks = Ranks.join()
once = home / f"harmed{ranks.rank}"
model, optimizer, guarded = rig.session(home, steps=40, ranks=ranks)
with guarded as run:
    for batch in run:
        run.backward(model(batch.tokens_BT), batch)
        if run.step_number == 25 and str(ranks.rank) == rank_to_harm and not once.exists():
            once.write_text("")
            os.kill(os.getpid(), getattr(signal, harm))
        run.step()
(out / f"{ranks.rank}.json").write_text(json.dumps(rig.digest(model, optimizer)))
"""


def _supervise(tmp_path, harm, *, nproc=1, rank=0, floor_seconds=60.0):
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    home = tmp_path / "run"
    command = [sys.executable, str(script), str(home), str(tmp_path), harm, str(rank)]
    supervisor = Supervisor(
        command,
        home=home,
        nproc=nproc,
        floor_seconds=floor_seconds,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
    )
    status = supervisor.run()
    ends = [json.loads((tmp_path / f"{one}.json").read_text()) for one in range(nproc)]
    return status, home, ends, list(journal.read(home, "supervisor"))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    home = tmp_path_factory.mktemp("unbroken") / "run"
    return rig.train(home, steps=40), rig.losses(home)


def test_a_killed_run_ends_as_if_nothing_had_happened(tmp_path, unbroken):
    status, home, (end,), told = _supervise(tmp_path, "SIGKILL")
    assert status == 0
    assert (end, rig.losses(home)) == unbroken
    (gone,) = [one for one in told if isinstance(one, ProcessExited)]
    assert (gone.signal, gone.hung, gone.step) == ("SIGKILL", False, 25)
    assert any(isinstance(one, Restart) for one in told)
    assert isinstance(told[-1], WorkersFinished)
    assert all(one.differences == () for one in replay(home))


def test_a_frozen_run_is_noticed_by_its_progress_and_goes_on(tmp_path, unbroken):
    status, home, (end,), told = _supervise(tmp_path, "SIGSTOP", floor_seconds=4.0)
    assert status == 0
    assert (end, rig.losses(home)) == unbroken
    (gone,) = [one for one in told if isinstance(one, ProcessExited)]
    assert gone.hung
    assert gone.silent_seconds >= 4.0


def test_two_ranks_outlive_the_death_of_one(tmp_path):
    status, home, ends, told = _supervise(tmp_path, "SIGKILL", nproc=2, rank=1)
    assert status == 0
    assert ends[0] == ends[1]
    assert any(isinstance(one, ProcessExited) and one.rank == 1 for one in told)
    assert all(one.differences == () for one in replay(home))


def test_a_script_that_always_fails_is_given_up_with_its_reason(tmp_path):
    script = tmp_path / "broken.py"
    script.write_text("raise RuntimeError('the tokenizer is gone')")
    status = Supervisor([sys.executable, str(script)], home=tmp_path / "run").run()
    told = list(journal.read(tmp_path / "run", "supervisor"))
    (given_up,) = [one for one in told if isinstance(one, GiveUp)]
    assert status == 93
    assert "the tokenizer is gone" in given_up.cause
    assert "starting again only repeats it" in given_up.why
    assert all(one.differences == () for one in replay(tmp_path / "run"))
