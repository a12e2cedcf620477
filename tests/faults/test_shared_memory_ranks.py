"""Two supervised ranks whose states lie in /dev/shm: one is killed, both go on from the same state."""

import json
import sys
from pathlib import Path

import pytest

from steadytrain import journal
from steadytrain.events import AttemptBegan, StepRecord
from steadytrain.launch.supervisor import Supervisor
from steadytrain.replaying import replay
from steadytrain.slots import folder_of
from tests import rig

ROOT = Path(__file__).parents[2]

TRAIN = """
import json, os, signal, sys
from pathlib import Path
from steadytrain.slots import Slot
from steadytrain.train import Ranks, snapshots
from tests import rig

home, out, where, victim = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
ranks = Ranks.join()
once = home / f"harmed{ranks.rank}"
model, optimizer, guarded = rig.session(
    home, steps=30, ranks=ranks, snapshot_every=1, checkpoint_every=50, keep=2
)

def harm():
    if str(ranks.rank) == victim and not once.exists():
        once.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)

copies = seals = 0
copy, seal = snapshots._copy, Slot.seal

def half_copy(to, source):
    global copies
    copies += 1
    if where == "copy" and copies == 18:
        half = list(to)[: len(to) // 2]
        copy({name: to[name] for name in half}, {name: source[name] for name in half})
        harm()
    copy(to, source)

def half_seal(slot, header):
    global seals
    seals += 1
    if where == "seal" and seals == 18:
        harm()
    seal(slot, header)

snapshots._copy, Slot.seal = half_copy, half_seal
with guarded as run:
    for batch in run:
        run.backward(model(batch.tokens_BT), batch)
        if where == "step" and run.step_number == 17:
            harm()
        run.step()
(out / f"{ranks.rank}.json").write_text(json.dumps(rig.digest(model, optimizer)))
"""


def _supervise(tmp_path, where, victim):
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    home = tmp_path / "run"
    command = [sys.executable, str(script), str(home), str(tmp_path), where, str(victim)]
    status = Supervisor(
        command, home=home, nproc=2, env={"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    ).run()
    ends = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    return status, home, ends


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    _, home, ends = _supervise(tmp_path_factory.mktemp("unbroken"), "nowhere", 0)
    return ends, rig.losses(home)


@pytest.mark.parametrize("where", ["step", "copy", "seal"])
@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_both_go_on_from_the_newest_state_that_both_have_sealed(tmp_path, unbroken, where, victim):
    status, home, ends = _supervise(tmp_path, where, victim)
    assert status == 0
    assert (ends, rig.losses(home)) == unbroken
    told = list(journal.read(home))
    again = next(one for one in told if isinstance(one, AttemptBegan) and one.cause == "restart")
    last = max(one.step for one in told[: told.index(again)] if isinstance(one, StepRecord))
    assert again.checkpoint == "shared memory"
    assert last - 1 <= again.step <= last
    assert all(one.differences == () for one in replay(home))
    assert not folder_of(home, {}).exists(), "shared memory is left behind"
