"""Twenty runs of two hosts, one of which is killed at a random moment and begins again."""

import contextlib
import json
import random
import sys
import time

import pytest

from steadytrain.launch.supervisor import Supervisor
from steadytrain.replaying import replay
from tests.launch import etcds
from tests.launch.rooms import HARMS, ROOT
from tests.launch.test_allies import Run

STEPS = 30


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    command = [sys.executable, *map(str, (HARMS, folder / "run", folder, "none", 0, 0, STEPS))]
    env = {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    assert Supervisor(command, home=folder / "run", nproc=2, env=env).run() == 0
    return json.loads((folder / "0.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_whichever_host_is_killed_whenever_the_run_ends_as_if_it_had_not(tmp_path, unbroken, seed):
    chance = random.Random(f"hosts-{seed}")
    backends = ["c10d", "static"] if etcds.WHY_NOT else ["c10d", "static", "etcd"]
    backend = backends[seed % len(backends)]
    settings = {"backend": backend, "endpoints": chance.choice([1, 2]) if backend == "c10d" else 1}
    victim, step = chance.randrange(2), chance.randrange(-6, STEPS - 4)
    with contextlib.ExitStack() as stack:
        if backend == "etcd":
            settings["etcd"] = stack.enter_context(etcds.Etcd(tmp_path))
        run = stack.enter_context(
            Run(tmp_path, number=2, nnodes="2", harm="pace", steps=STEPS, **settings)
        )
        if step > 0:
            run.wait_for_step(step)
        time.sleep(chance.uniform(0.0, 0.5 if step > 0 else 12.0))
        run.hosts[victim].kill()
        time.sleep(chance.uniform(0.0, 8.0))  # sooner or later than the other notices
        back = run.begin(victim)
        assert [one.wait() for one in (run.hosts[1 - victim], back)] == [0, 0]
        assert run.ends() == [unbroken, unbroken]
        run.insist_on_every_sequence_once()
        assert all(one.differences == () for one in replay(run.home))
