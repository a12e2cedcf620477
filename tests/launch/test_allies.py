"""Two to four hosts for real: deaths, hangs and leaving of one are the business of all.

The hosts are supervisors on the loopback; in network namespaces where a cable has to be pulled.
"""

import collections
import json
import signal
import time
from pathlib import Path

import pytest

from steadytrain import journal, provenance
from steadytrain.events import (
    GiveUp,
    HostGone,
    HostsWaiting,
    Outcome,
    ProcessExited,
    Remedy,
    Restart,
    StepRecord,
    WorkersFinished,
    WorkersStarted,
)
from steadytrain.replaying import replay
from tests import rig
from tests.launch import etcds
from tests.launch.networks import Network, why_not
from tests.launch.rooms import CONF, HARMS, Host, free_port

WHY_NOT = why_not()
needs_namespaces = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))


class Run:
    """Hosts of one run; ended with the test, whatever becomes of it."""

    def __init__(
        self, folder, *, number, nnodes, harm, steps, rank=0, step=0, network=None, **more
    ):
        self.folder, self.home = Path(folder), Path(folder, "run")
        self._steps = steps
        port = free_port()
        backend, etcd = more.pop("backend", "c10d"), more.pop("etcd", None)
        addresses = network.addresses if network else [f"127.0.0.{at + 1}" for at in range(number)]
        endpoints, further = more.pop("endpoints", 1), more.pop("options", ())
        settings = {
            "nnodes": nnodes,
            "endpoint": ",".join(f"{one}:{port}" for one in addresses[:endpoints]),
            **more,
        }
        if etcd is not None:
            settings["endpoint"] = ",".join(f"127.0.0.1:{one}" for one in etcd.ports)
        command = [HARMS, self.home, folder, harm, rank, step, steps]

        def begin(at):
            there = {"prefix": network.prefix(at), "env": network.env} if network else {}
            options = [*further, "--rdzv-backend", backend]
            if backend == "static":
                options += ["--node-rank", str(at)]
            host = Host(
                folder, at, command, address=addresses[at], options=options, **settings, **there
            )
            self.all.append(host)
            return host

        self.all = []
        self.begin = begin
        self.hosts = [begin(at) for at in range(number)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for host in self.all:
            host.kill()

    @property
    def told(self):
        return list(journal.read(self.home, "supervisor"))

    def of(self, kind):
        return [one for one in self.told if isinstance(one, kind)]

    def step(self):
        if not journal.files(self.home, "rank0"):
            return 0
        made = [one.step for one in journal.read(self.home) if isinstance(one, StepRecord)]
        return max(made, default=0)

    def wait_for_step(self, step, seconds=180.0):
        end = time.monotonic() + seconds
        while self.step() < step:
            assert time.monotonic() < end, [host.text for host in self.all]
            time.sleep(0.1)

    def ends(self):
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("?.json"))]

    def insist_on_every_sequence_once(self):
        rows = provenance.read(self.home, 1, self._steps)
        drawn = collections.Counter(rows["draw"].tolist())
        assert drawn == collections.Counter(range(self._steps * rig.BATCH))


def test_a_rank_dies_and_the_ranks_of_both_hosts_start_once_more(tmp_path):
    with Run(tmp_path, number=2, nnodes="2", harm="kill", rank=1, step=12, steps=20) as run:
        assert [host.wait() for host in run.hosts] == [0, 0]
        (gone,) = run.of(ProcessExited)
        assert (gone.rank, gone.signal, gone.step) == (1, "SIGKILL", 12)
        (again,) = run.of(Restart)
        starts = run.of(WorkersStarted)
        assert [one.generation for one in starts] == [0, again.generation] == [0, 1]
        assert starts[1].hosts == ("127.0.0.1", "127.0.0.2")
        assert isinstance(run.told[-1], WorkersFinished)
        assert all(one.differences == () for one in replay(run.home))
        first, second = run.ends()
        assert first == second
        assert "resumed from shared memory" in run.hosts[0].text
        run.insist_on_every_sequence_once()


@pytest.mark.slow
def test_in_a_hang_of_all_hosts_the_rank_that_does_not_wait_is_named(tmp_path):
    with Run(
        tmp_path, number=2, nnodes="2", harm="lock", rank=1, step=12, steps=20, hang_after=6.0
    ) as run:
        assert [host.wait() for host in run.hosts] == [0, 0]
        (gone,) = run.of(ProcessExited)
        assert (gone.rank, gone.hung) == (1, True)
        assert gone.error.startswith("in lock, harms.py")
        assert len(run.of(Restart)) == 1


@pytest.mark.slow
def test_a_host_that_shall_leave_has_all_save_and_takes_only_itself_away(tmp_path):
    with Run(tmp_path, number=3, nnodes="2:3", harm="pace", steps=60) as run:
        run.wait_for_step(8)
        run.hosts[2].send(signal.SIGTERM)
        assert [host.wait() for host in run.hosts] == [0, 0, 75]
        (gone,) = run.of(HostGone)
        assert (gone.host, gone.ranks, gone.why) == ("127.0.0.3", (2,), "left")
        # Nothing is made again: the ranks saved after the same step.
        made = [one.step for one in journal.read(run.home) if isinstance(one, StepRecord)]
        assert made == list(range(1, 61))
        run.insist_on_every_sequence_once()


@pytest.mark.slow
@pytest.mark.parametrize("rank", [1, 0])
def test_a_host_whose_memory_flips_bits_again_and_again_is_left_and_the_others_go_on(
    tmp_path, rank
):
    with Run(
        tmp_path, number=3, nnodes="2:3", endpoints=2, harm="flips", rank=rank, step=8, steps=50
    ) as run:
        wanted = [0, 0, 0]
        wanted[rank] = 75
        assert [host.wait() for host in run.hosts] == wanted
        gone = run.of(HostGone)  # the first host may take the place to meet with it, once they met
        assert len(gone) == 1 or rank == 0
        assert gone[0].host == f"127.0.0.{rank + 1}"
        assert (gone[0].ranks, gone[0].why) == ((rank,), "distrusted")
        worlds = [len(one.pids) for one in run.of(WorkersStarted)]
        assert worlds == [3] + [2] * len(gone)
        assert run.of(GiveUp) == run.of(ProcessExited) == []
        told = list(journal.read(run.home))
        plans = [
            [type(one).__name__ for one in told.plan] for told in told if isinstance(told, Remedy)
        ]
        assert plans == [["RollBack"], ["RollBack", "LeaveHost"]]
        assert [one.result for one in told if isinstance(one, Outcome)] == ["cured", "cured"]
        first, second = run.ends()[-2:]
        assert first == second
        run.insist_on_every_sequence_once()
        assert all(one.differences == () for one in replay(run.home))


@pytest.mark.slow
def test_in_a_fixed_order_a_lost_host_is_waited_for_and_takes_its_place_again(tmp_path):
    with Run(tmp_path, number=2, nnodes="2", backend="static", harm="pace", steps=40) as run:
        run.wait_for_step(8)
        run.hosts[1].kill()
        run.hosts[0].wait_for("127.0.0.2 was silent")
        assert "hosts go on together: 127.0.0.1;" not in run.hosts[0].text
        back = run.begin(1)
        assert [host.wait() for host in (run.hosts[0], back)] == [0, 0]
        assert {one.hosts for one in run.of(WorkersStarted)} == {("127.0.0.1", "127.0.0.2")}
        run.insist_on_every_sequence_once()


@pytest.mark.slow
@pytest.mark.skipif(etcds.WHY_NOT is not None, reason=str(etcds.WHY_NOT))
def test_hosts_that_meet_in_etcd_lose_the_leader_and_a_member_of_etcd(tmp_path):
    conf = CONF.replace("last_call_timeout=1", "last_call_timeout=20")
    with (
        etcds.Etcd(tmp_path, number=3) as etcd,
        Run(
            tmp_path, number=3, nnodes="1:3", backend="etcd", etcd=etcd, harm="pace", steps=120,
            conf=conf,
        ) as run,
    ):  # fmt: skip
        run.wait_for_step(5)
        etcd.members[0].kill()
        run.wait_for_step(15)
        assert len(run.of(WorkersStarted)) == 1  # nobody noticed
        run.hosts[0].kill()
        run.hosts[1].wait_for("2 hosts go on together")
        back = run.begin(0)
        assert [host.wait(500.0) for host in (*run.hosts[1:], back)] == [0, 0, 0]
        assert [one.host for one in run.of(HostGone)] == ["127.0.0.1"]
        run.insist_on_every_sequence_once()


@pytest.mark.slow
def test_four_hosts_become_two_and_four_again_and_every_sequence_is_used_once(tmp_path):
    with Run(tmp_path, number=4, nnodes="2:4", harm="pace", steps=300) as run:
        run.wait_for_step(12)
        for at in (2, 3):
            run.hosts[at].kill()
        run.hosts[0].wait_for("2 hosts go on together")
        run.wait_for_step(20)
        back = [run.begin(at) for at in (2, 3)]
        assert [host.wait(500.0) for host in (*run.hosts[:2], *back)] == [0, 0, 0, 0]
        worlds = [len(one.pids) for one in run.of(WorkersStarted)]
        assert (worlds[0], 2 in worlds, worlds[-1]) == (4, True, 4)
        assert run.of(HostsWaiting)
        assert len({one["weights"] for one in run.ends()}) == 1
        run.insist_on_every_sequence_once()
        assert all(one.differences == () for one in replay(run.home))


@pytest.mark.slow
def test_without_the_rendezvous_all_leave_in_time_and_ask_to_be_started_again(tmp_path):
    conf = CONF.replace("rejoin_timeout=60", "rejoin_timeout=8")
    with Run(tmp_path, number=2, nnodes="1:2", harm="pace", steps=300, conf=conf) as run:
        run.wait_for_step(3)
        run.hosts[0].kill()
        began = time.monotonic()
        assert run.hosts[1].wait() == 75
        assert time.monotonic() - began < 40.0  # 6 s to notice, 8 s to give up, and a busy machine


@pytest.mark.slow
def test_hosts_that_do_not_share_a_home_are_told_so(tmp_path):
    port = free_port()
    rooms = [tmp_path / "one", tmp_path / "two"]
    for room in rooms:
        room.mkdir()
    hosts = [
        Host(
            room, at, [HARMS, room / "run", room, "none", 0, 0, 10], nnodes="2",
            endpoint=f"127.0.0.1:{port}", conf=CONF.replace("rejoin_timeout=60", "rejoin_timeout=5"),
        )
        for at, room in enumerate(rooms)
    ]  # fmt: skip
    try:
        assert hosts[1].wait() == 2
        assert "is not the same folder as on 127.0.0.1" in hosts[1].text
        assert hosts[0].wait() == 75
    finally:
        for host in hosts:
            host.kill()


@needs_namespaces
@pytest.mark.slow
class TestInNamespaces:
    def test_the_rendezvous_host_is_cut_off_and_comes_back(self, tmp_path):
        with (
            Network(3) as network,
            Run(
                tmp_path, number=3, nnodes="2:3", harm="pace", steps=300, network=network,
                endpoints=2,
            ) as run,
        ):  # fmt: skip
            run.wait_for_step(12)
            network.cut(0)
            run.hosts[1].wait_for("2 hosts go on together")
            run.wait_for_step(20)
            network.mend(0)
            assert [host.wait(500.0) for host in run.hosts] == [0, 0, 0]
            gone = run.of(HostGone)
            assert [one.host for one in gone] == ["10.77.0.1"]
            assert "may be cut off, and ends its ranks" in run.hosts[0].text
            assert len(run.of(WorkersStarted)[-1].pids) == 3
            run.insist_on_every_sequence_once()

    def test_the_rendezvous_host_dies_and_is_started_again(self, tmp_path):
        with (
            Network(3) as network,
            Run(
                tmp_path, number=3, nnodes="2:3", harm="pace", steps=300, network=network,
                endpoints=2,
            ) as run,
        ):  # fmt: skip
            run.wait_for_step(12)
            run.hosts[0].kill()
            run.hosts[1].wait_for("2 hosts go on together")
            back = run.begin(0)
            assert [host.wait(500.0) for host in (*run.hosts[1:], back)] == [0, 0, 0]
            run.insist_on_every_sequence_once()

    def test_a_host_that_is_cut_off_ends_its_ranks_before_the_others_go_on(self, tmp_path):
        with (
            Network(3) as network,
            Run(tmp_path, number=3, nnodes="2:3", harm="pace", steps=300, network=network) as run,
        ):
            run.wait_for_step(12)
            network.cut(2)
            run.hosts[2].wait_for("this host ends its ranks")
            assert "2 hosts go on together" not in run.hosts[0].text
            run.hosts[0].wait_for("2 hosts go on together")
            network.mend(2)
            assert [host.wait(500.0) for host in run.hosts] == [0, 0, 0]
            run.insist_on_every_sequence_once()

    def test_a_host_that_comes_back_slow_is_waited_for_and_nobody_is_killed(self, tmp_path):
        with (
            Network(2) as network,
            Run(tmp_path, number=2, nnodes="1:2", harm="pace", steps=150, network=network) as run,
        ):
            run.wait_for_step(5)
            network.cut(1)
            run.hosts[0].wait_for("1 hosts go on together")
            network.slow(1, kbit=4000)
            network.mend(1)
            assert [host.wait(500.0) for host in run.hosts] == [0, 0]
            worlds = [len(one.pids) for one in run.of(WorkersStarted)]
            assert worlds == [2, 1, 2]
            assert all(one.signal is None and not one.hung for one in run.of(ProcessExited))
            run.insist_on_every_sequence_once()
