"""Checkpoints written by a process of their own, and what may happen to it."""

import errno
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch
import xxhash
from torch import nn
from torch.distributed import checkpoint as dcp

from steadytrain.errors import CheckpointError
from steadytrain.events import CheckpointFailed, CheckpointSaved
from steadytrain.slots import Folder
from steadytrain.train.checkpoints import Checkpoints
from steadytrain.train.mapped import Mapped
from steadytrain.train.snapshots import Snapshots
from steadytrain.train.state import TrainingState
from steadytrain.train.writer import Writer


class Run:
    """A tiny model whose snapshots lie in slots, and its checkpoints."""

    def __init__(self, home):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 1)).bfloat16()
        model.append(nn.Linear(1, 3))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
        self.state = TrainingState(model, optimizer)
        (home / "shm").mkdir(exist_ok=True)
        folder = Folder(
            home / "shm", home=home, rank=0, world=1, fingerprint=self.state.fingerprint()
        )
        self.mapped = Mapped(folder, keep=3)
        self.snapshots = Snapshots(self.state, keep=3, mapped=self.mapped)
        self.checkpoints = Checkpoints(home / "checkpoints", self.state)
        self.writer = self.checkpoints._writer
        self.steps = 0

    def begin(self):
        self.steps += 1
        snapshot = self.snapshots.take(self.steps, 0)
        self.mapped.settle()
        self.checkpoints.save(snapshot, 1, {}, blocked_seconds=0.0)

    def save(self):
        self.begin()
        self.checkpoints.wait()
        (event,) = self.checkpoints.poll()
        return event

    def newest(self):
        return self.checkpoints.candidates()[0].path


@pytest.fixture
def run(tmp_path):
    made = Run(tmp_path)
    yield made
    made.checkpoints.wait()
    made.checkpoints.close()


def _wait_until(holds, seconds=30.0):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def _is_gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def _copies(run):
    return {name: one.detach().clone() for name, one in run.state.tensors().items()}


class TestWhatIsWritten:
    def test_it_comes_back_bit_for_bit(self, run):
        before = _copies(run)
        assert isinstance(run.save(), CheckpointSaved)
        assert run.writer.pid is not None
        with torch.no_grad():
            for one in run.state.tensors().values():
                one.zero_()
        run.checkpoints.restore(run.newest())
        for name, one in run.state.tensors().items():
            assert torch.equal(one, before[name]), name

    def test_torch_reads_it_without_us(self, run):
        run.save()
        read = {name: torch.zeros_like(one) for name, one in run.state.tensors().items()}
        dcp.load(read, storage_reader=dcp.FileSystemReader(run.newest()))
        for name, one in run.state.tensors().items():
            assert torch.equal(one, read[name]), name

    def test_it_is_what_this_process_would_write_but_for_sums_that_nobody_reads(self, run):
        by_process = run.save().bytes
        run.writer._num_deaths = 2
        run.writer.close()
        by_thread = run.save()
        assert isinstance(by_thread, CheckpointSaved)
        assert run.writer.pid is None
        assert by_thread.bytes == by_process

    def test_one_that_begins_before_its_state_is_sealed_is_no_flipped_bit(self, run, monkeypatch):
        seal = run.mapped._seal
        monkeypatch.setattr(run.mapped, "_seal", lambda *job: time.sleep(0.2) or seal(*job))
        run.checkpoints.save(run.snapshots.take(1, 0), 1, {}, blocked_seconds=0.0)
        run.checkpoints.wait()
        assert isinstance(run.checkpoints.poll()[0], CheckpointSaved)

    def test_a_bit_that_flips_between_seal_and_disk_is_told(self, run):
        snapshot = run.snapshots.take(1, 0)
        run.mapped.settle()
        memory = snapshot.slot.memory
        memory[snapshot.slot.payload] ^= 4
        run.checkpoints.save(snapshot, 1, {}, blocked_seconds=0.0)
        run.checkpoints.wait()
        (event,) = run.checkpoints.poll()
        assert "a bit has flipped" in event.reason
        assert run.checkpoints.candidates() == []


class TestTheProcess:
    def test_one_serves_many_saves_and_holds_no_torch(self, run):
        run.save()
        pid = run.writer.pid
        run.save()
        assert run.writer.pid == pid
        with open(f"/proc/{pid}/maps") as maps:
            assert "torch" not in maps.read()

    def test_one_that_died_between_two_saves_is_replaced_without_a_word(self, run):
        run.save()
        pid = run.writer.pid
        os.kill(pid, signal.SIGKILL)
        _wait_until(lambda: _is_gone(pid))
        assert isinstance(run.save(), CheckpointSaved)
        assert run.writer.pid != pid

    def test_one_that_dies_while_it_writes_costs_one_checkpoint(self, run):
        run.save()
        self.kill_while_writing(run)
        (event,) = run.checkpoints.poll()
        assert isinstance(event, CheckpointFailed)
        assert "was killed by signal 9; the next save starts another" in event.reason
        assert len(run.checkpoints.candidates()) == 1
        assert isinstance(run.save(), CheckpointSaved)
        run.checkpoints.verify(run.newest())

    def test_where_each_one_dies_this_process_writes_by_itself(self, run):
        run.save()
        self.kill_while_writing(run)
        assert run.writer.is_ready()
        self.kill_while_writing(run)
        _, event = run.checkpoints.poll()
        assert "from now on this process writes by itself" in event.reason
        assert isinstance(run.save(), CheckpointSaved)
        assert run.writer.pid is None

    def test_one_that_falls_silent_is_given_up(self, run, monkeypatch):
        run.save()
        pid = run.writer.pid
        monkeypatch.setattr("steadytrain.train.writer.PATIENCE_SECONDS", 0.2)
        os.kill(pid, signal.SIGSTOP)
        event = run.save()
        assert "was silent for 0 s" in event.reason
        _wait_until(lambda: _is_gone(pid))

    def test_what_the_disk_says_is_passed_on(self, run):
        assert run.writer.is_ready()
        slot = run.snapshots.take(1, 0).slot
        with pytest.raises(OSError, match="No space left") as caught:
            run.writer.write("/dev/full", slot.path, [(3, slot.payload, 64)], b"abcd")
        assert caught.value.errno == errno.ENOSPC
        assert isinstance(run.save(), CheckpointSaved)

    def test_a_slot_that_is_cut_short_is_an_error_and_no_end(self, run, tmp_path):
        assert run.writer.is_ready()
        slot = run.snapshots.take(1, 0).slot
        with pytest.raises(OSError, match="ends before the state does"):
            run.writer.write(tmp_path / "a", slot.path, [(0, len(slot.memory), 64)], b"")
        size, digest, _ = run.writer.write(
            tmp_path / "a", slot.path, [(1, slot.payload, 8)], b"abc"
        )
        expected = b"a" + slot.memory[slot.payload : slot.payload + 8] + b"bc"
        assert (tmp_path / "a").read_bytes() == expected
        assert (size, digest) == (11, xxhash.xxh3_128_hexdigest(expected))

    def test_a_slot_without_a_name_is_written_by_this_process(self, run):
        snapshot = run.snapshots.take(1, 0)
        run.mapped.settle()
        snapshot.slot.remove()
        run.checkpoints.save(snapshot, 1, {}, blocked_seconds=0.0)
        run.checkpoints.wait()
        assert isinstance(run.checkpoints.poll()[0], CheckpointSaved)
        assert run.writer.pid is None

    def test_it_ends_when_it_is_closed(self, run):
        run.save()
        pid = run.writer.pid
        run.checkpoints.close()
        assert _is_gone(pid)

    @staticmethod
    def kill_while_writing(run):
        pid = run.writer.pid
        os.kill(pid, signal.SIGSTOP)
        run.begin()
        time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
        run.checkpoints.wait()


OWNER = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background are deaf to it
from steadytrain.train.writer import Writer
writer = Writer()
assert writer.is_ready()
print(writer.pid, flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_its_owner_however_that_ends(end):
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    pid = int(owner.stdout.readline())
    owner.send_signal(end)
    owner.communicate()
    _wait_until(lambda: _is_gone(pid))


def test_a_scheduler_that_signals_every_process_does_not_end_a_save(tmp_path):
    writer = Writer()
    assert writer.is_ready()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        os.kill(writer.pid, number)
    _, digest, _ = writer.write(tmp_path / "a", "/dev/null", [], b"abc")
    assert digest == xxhash.xxh3_128_hexdigest(b"abc")
    writer.close()


def test_a_failure_of_the_process_is_no_failure_of_the_disk():
    writer = Writer()
    assert writer.is_ready()
    os.kill(writer.pid, signal.SIGKILL)
    with pytest.raises(CheckpointError, match="was killed by signal 9"):
        writer.write("/dev/null", "/dev/null", [], b"")
