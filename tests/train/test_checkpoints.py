import errno
import json
import os
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import xxhash
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException

from steadytrain.errors import CheckpointError, SettingError
from steadytrain.events import CheckpointFailed, CheckpointSaved
from steadytrain.train import checkpoints as room
from steadytrain.train import manifest
from steadytrain.train.checkpoints import Checkpoints
from steadytrain.train.snapshots import Snapshots
from steadytrain.train.state import TrainingState
from tests.ranks import need_shards_on_the_cpu


class Run:
    """A tiny model with dropout, its snapshots and its checkpoints."""

    def __init__(self, home, *, keep=3, width=8, snapshots=2, extras=None, **options):
        torch.manual_seed(1)
        self.model = nn.Sequential(
            nn.Linear(6, width), nn.BatchNorm1d(width), nn.Dropout(0.3), nn.Linear(width, 1)
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01, fused=True)
        self.state = TrainingState(self.model, self.optimizer, extras=extras)
        self.snapshots = Snapshots(self.state, keep=snapshots)
        self.home = home
        self.checkpoints = Checkpoints(home / "checkpoints", self.state, keep=keep, **options)

    def train(self, steps):
        for _ in range(steps):
            self.model(torch.randn(4, 6)).square().mean().backward()
            self.optimizer.step()
            self.optimizer.zero_grad()

    def copy(self):
        return {name: one.detach().clone() for name, one in self.state.tensors().items()}

    def save(self, step, *, attempt=1):
        """Save, wait for the end, and return the folder."""
        snapshot = self.snapshots.take(step, 4 * step)
        self.checkpoints.save(snapshot, attempt, {"note": step}, blocked_seconds=0.25)
        self.checkpoints.wait()
        return self.home / "checkpoints" / f"a{attempt:04d}-s{step:08d}"


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def assert_same_bits(left, right):
    assert left.keys() == right.keys()
    for name, one in left.items():
        same = one.numpy().tobytes() == right[name].numpy().tobytes()
        assert same, name


def names(run):
    return [ref.path.name for ref in run.checkpoints.candidates()]


def flip(path, bit):
    raw = bytearray(path.read_bytes())
    raw[bit // 8] ^= 1 << bit % 8
    path.write_bytes(raw)


class TestRoundTrip:
    def test_another_process_would_continue_bit_for_bit(self, run, tmp_path):
        run.train(5)
        path = run.save(5)
        run.train(5)
        other = Run(tmp_path)
        other.train(1)
        manifest = other.checkpoints.restore(path)
        other.train(5)
        assert_same_bits(other.copy(), run.copy())
        assert (manifest["step"], manifest["draw"], manifest["extra"]) == (5, 20, {"note": 5})

    def test_moments_are_made_for_an_optimizer_that_never_stepped(self, run, tmp_path):
        run.train(3)
        path = run.save(3)
        other = Run(tmp_path)
        other.checkpoints.restore(path)
        assert_same_bits(other.copy(), run.copy())
        assert other.optimizer.state[other.model[0].weight]["step"] == 3

    def test_an_optimizer_before_its_first_step_comes_back_empty(self, run):
        before = run.copy()
        path = run.save(0)
        run.train(2)
        first = run.copy()
        run.checkpoints.restore(path)
        assert not run.optimizer.state
        assert_same_bits(run.copy(), before)
        run.train(2)
        assert_same_bits(run.copy(), first)

    def test_parameters_stay_the_objects_that_they_are(self, run):
        run.train(1)
        path = run.save(1)
        before = run.state.tensors()
        run.checkpoints.restore(path)
        assert all(one is before[name] for name, one in run.state.tensors().items())

    def test_hyperparameters_come_back(self, run):
        path = run.save(1)
        run.optimizer.param_groups[0].update(lr=5.0, betas=(0.0, 0.0))
        run.checkpoints.restore(path)
        group = run.optimizer.param_groups[0]
        assert (group["lr"], group["betas"]) == (0.01, (0.9, 0.999))

    def test_what_is_saved_is_the_snapshot_and_not_the_present(self, run):
        run.train(1)
        before = run.copy()
        snapshot = run.snapshots.take(1, 0)
        run.train(1)
        run.checkpoints.save(snapshot, 1, {}, blocked_seconds=0.0)
        run.checkpoints.wait()
        run.checkpoints.restore(run.checkpoints.candidates()[0].path)
        assert_same_bits(run.copy(), before)


class TestEvents:
    def test_a_save_is_reported_once_with_its_cost(self, tmp_path):
        run = Run(tmp_path, clock=iter([10.0, 12.5]).__next__)
        path = run.save(5)
        [event] = run.checkpoints.poll()
        size = sum(one.stat().st_size for one in path.iterdir() if one.name != "manifest.json")
        assert event == CheckpointSaved(
            attempt=1,
            step=5,
            draw=20,
            path="checkpoints/a0001-s00000005",
            bytes=size,
            digest=json.loads((path / "manifest.json").read_text())["digest"],
            seconds=2.5,
            blocked_seconds=0.25,
            rng=event.rng,
        )
        assert len(event.rng) == 1  # of this rank
        assert run.checkpoints.poll() == []

    def test_one_is_written_one_waits_and_a_third_is_skipped(self, run, monkeypatch):
        begun, may_go_on = threading.Event(), threading.Event()
        save = room.dcp.save

        def slow(*args, **options):
            begun.set()
            assert may_go_on.wait(20)
            return save(*args, **options)

        monkeypatch.setattr(room.dcp, "save", slow)
        for step in (1, 2, 3):
            run.checkpoints.save(run.snapshots.take(step, 0), 1, {}, blocked_seconds=0.0)
            assert begun.wait(20)
        assert run.snapshots.steps == (1, 2, 3)  # two leased, so one more than kept
        assert run.checkpoints.poll() == []
        may_go_on.set()
        run.checkpoints.wait()
        saved, waited, skipped = run.checkpoints.poll()
        assert (saved.step, waited.step, skipped.step) == (1, 2, 3)
        assert isinstance(skipped, CheckpointFailed)
        assert "skipped" in skipped.reason
        assert "Write a larger checkpoint_every" in skipped.reason
        run.snapshots.take(4, 0)
        assert run.snapshots.steps == (3, 4)


class TestFailure:
    """Training is never disturbed, the journal hears of it, and the next save works."""

    @pytest.mark.parametrize(
        ("error", "words"),
        [
            (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
            (OSError(errno.EROFS, "Read-only file system"), "the folder cannot be written"),
            (OSError(errno.EIO, "Input/output error"), "Input/output error"),
            (RuntimeError("unexpected pos 704 vs 598"), "could not be written to its end"),
            (CheckpointException("write", {0: (MemoryError("no room"), None)}), "no room"),
            (SystemExit(3), "SystemExit"),
        ],
        ids=lambda one: type(one).__name__ if isinstance(one, BaseException) else one,
    )
    def test_whatever_dcp_raises(self, run, monkeypatch, error, words):
        def fail(*args, **options):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(room.dcp, "save", fail)
            run.save(1)
        [event] = run.checkpoints.poll()
        assert isinstance(event, CheckpointFailed)
        assert words in event.reason
        assert "training goes on without checkpoint a0001-s00000001" in event.reason
        assert list((run.home / "checkpoints").iterdir()) == []
        run.save(2)
        assert [type(one) for one in run.checkpoints.poll()] == [CheckpointSaved]

    @pytest.mark.parametrize("where", ["mkdir", "rename"])
    def test_a_read_only_folder(self, run, monkeypatch, where):
        def refuse(*args, **options):
            raise OSError(errno.EROFS, "Read-only file system")

        with monkeypatch.context() as patch:
            patch.setattr(Path, where, refuse)
            run.save(1)
        [event] = run.checkpoints.poll()
        assert "the folder cannot be written" in event.reason
        assert "Let this user write there" in event.reason
        assert names(run) == []

    def test_a_disk_without_enough_room_is_not_filled(self, run, monkeypatch):
        usage = shutil.disk_usage("/")._replace(free=100)
        monkeypatch.setattr(room.shutil, "disk_usage", lambda path: usage)
        run.save(1)
        [event] = run.checkpoints.poll()
        assert "the disk is full" in event.reason
        assert "bytes are needed" in event.reason

    def test_a_disk_that_fills_up_while_writing(self, tmp_path, monkeypatch):
        disk = tmp_path / "disk"
        disk.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True
        )
        if mounted.returncode:
            pytest.skip("mounting needs root")
        try:
            run = Run(disk, width=20_000)
            usage = shutil.disk_usage("/")
            monkeypatch.setattr(room.shutil, "disk_usage", lambda path: usage)
            run.save(1)
            [event] = run.checkpoints.poll()
            assert "the disk is full" in event.reason
            assert "Free some space" in event.reason
            assert list((disk / "checkpoints").iterdir()) == []
        finally:
            subprocess.run(["umount", disk], check=True)

    def test_saving_twice_under_one_name_keeps_the_first(self, run):
        path = run.save(1)
        before = (path / "manifest.json").read_bytes()
        run.save(1)
        _, second = run.checkpoints.poll()
        assert "it is there already" in second.reason
        assert (path / "manifest.json").read_bytes() == before


class TestVerify:
    def test_every_flipped_bit_is_refused(self, run):
        run.train(2)
        path = run.save(2)
        chance = random.Random(0)
        for file in sorted(path.iterdir()):
            for bit in chance.sample(range(8 * file.stat().st_size), 100):
                flip(file, bit)
                with pytest.raises(CheckpointError, match=rf"damaged {file.name}"):
                    run.checkpoints.verify(path)
                flip(file, bit)
        run.checkpoints.verify(path)

    def test_a_large_file_is_hashed_to_its_end(self, tmp_path):
        body = random.Random(0).randbytes(2 * manifest.CHUNK_BYTES + 1)
        (tmp_path / "large").write_bytes(body)
        assert manifest.hash_file(tmp_path / "large") == xxhash.xxh3_128_hexdigest(body)

    @pytest.mark.parametrize("name", [".metadata", "__0_0.distcp"])
    @pytest.mark.parametrize("left", [0, 0.5, 1.1])
    def test_a_file_of_another_size_is_refused(self, run, name, left):
        path = run.save(2)
        size = (path / name).stat().st_size
        os.truncate(path / name, int(left * size))
        with pytest.raises(CheckpointError, match=rf"of {name}'s {size} bytes \(truncated\)"):
            run.checkpoints.verify(path)

    def test_a_missing_file_is_refused(self, run):
        path = run.save(2)
        (path / "__0_0.distcp").unlink()
        with pytest.raises(CheckpointError, match=r"is missing the file __0_0.distcp; .*older one"):
            run.checkpoints.verify(path)

    def test_a_torn_one_is_refused(self, run):
        path = run.save(2)
        (path / "manifest.json").unlink()
        with pytest.raises(CheckpointError, match=r"never finished \(torn\).*Restore an older one"):
            run.checkpoints.verify(path)

    def test_a_manifest_with_another_spelling_is_refused(self, run):
        path = run.save(2)
        words = json.loads((path / "manifest.json").read_text())
        (path / "manifest.json").write_text(json.dumps(words | {"step": 3}))
        with pytest.raises(CheckpointError, match=r"damaged manifest.json: its hash"):
            run.checkpoints.verify(path)

    def test_a_later_format_is_refused(self, run, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(room, "FORMAT", 2)
            path = run.save(2)
        with pytest.raises(CheckpointError, match="has format 2, this version reads up to 1"):
            run.checkpoints.verify(path)

    def test_a_file_that_cannot_be_read_is_refused(self, run, monkeypatch):
        def fail(path):
            raise OSError(errno.EIO, "Input/output error")

        path = run.save(2)
        monkeypatch.setattr(manifest, "hash_file", fail)
        with pytest.raises(CheckpointError, match=r"cannot be read .*Input/output error"):
            run.checkpoints.verify(path)


class TestRestore:
    def test_a_damaged_one_leaves_the_live_state_alone(self, run):
        run.train(1)
        path = run.save(1)
        run.train(1)
        before = run.copy()
        flip(path / "__0_0.distcp", 4000)
        with pytest.raises(CheckpointError, match="damaged"):
            run.checkpoints.restore(path)
        assert_same_bits(run.copy(), before)

    def test_another_model_is_refused(self, run, tmp_path):
        path = run.save(1)
        with pytest.raises(CheckpointError, match=r"of another model \(fingerprint.*another home"):
            Run(tmp_path, width=9).checkpoints.restore(path)

    def test_another_buffer_is_refused(self, run, tmp_path):
        path = run.save(1)
        other = Run(tmp_path)
        other.model[1].register_buffer("extra", torch.zeros(2))
        checkpoints = Checkpoints(
            tmp_path / "checkpoints", TrainingState(other.model, other.optimizer)
        )
        with pytest.raises(CheckpointError, match=r"model.1.extra is None in it and \[\[2\]"):
            checkpoints.restore(path)

    def test_a_failure_beyond_verification_is_told(self, run, monkeypatch):
        def fail(*args, **options):
            raise CheckpointException("read", {0: (OSError(errno.EIO, "I/O error"), None)})

        path = run.save(1)
        monkeypatch.setattr(room.dcp, "load", fail)
        with pytest.raises(CheckpointError, match=r"neither old nor new. Restore another"):
            run.checkpoints.restore(path)


class TestWalkingBack:
    def test_what_is_damaged_or_torn_is_not_vouched_for(self, run):
        paths = [run.save(step) for step in (1, 2, 3)]
        flip(paths[2] / "__0_0.distcp", 9)
        (paths[1] / "manifest.json").unlink()
        assert run.checkpoints.vouch(paths[0])["step"] == 1
        with pytest.raises(CheckpointError, match="torn"):
            run.checkpoints.vouch(paths[1])
        with pytest.raises(CheckpointError, match="damaged __0_0.distcp"):
            run.checkpoints.vouch(paths[2])

    def test_a_later_attempt_is_newer_than_a_later_step(self, run):
        run.save(30)
        run.save(20, attempt=2)
        assert names(run) == ["a0002-s00000020", "a0001-s00000030"]

    def test_unfinished_and_foreign_folders_are_no_candidates(self, run):
        run.save(1)
        for name in ("a0001-s00000002.partial", "a0001-s00000002.deleted", "notes"):
            (run.home / "checkpoints" / name).mkdir()
        assert names(run) == ["a0001-s00000001"]


class TestPrune:
    def fill(self, home):
        run = Run(home, keep=2)
        for step in (10, 20, 30, 40):
            run.save(step)
        return run

    @pytest.mark.parametrize(
        ("healthy_until", "left"),
        [(None, [40, 30]), (45, [40, 30]), (25, [40, 30, 20]), (15, [40, 30, 10]), (5, [40, 30])],
    )
    def test_the_newest_and_the_newest_healthy_stay(self, tmp_path, healthy_until, left):
        run = self.fill(tmp_path)
        run.checkpoints.prune(healthy_until)
        assert [ref.step for ref in run.checkpoints.candidates()] == left
        run.checkpoints.wait()
        assert len(list((tmp_path / "checkpoints").iterdir())) == len(left)

    def test_abandoned_ones_are_neither_counted_nor_kept(self, tmp_path):
        run = self.fill(tmp_path)
        run.checkpoints.prune(35, allowed=lambda ref: ref.step <= 20)
        assert [ref.step for ref in run.checkpoints.candidates()] == [20, 10]

    def test_one_that_was_refused_never_stands_for_the_last_good_one(self, tmp_path):
        run = self.fill(tmp_path)
        run.checkpoints.prune(
            25, refused=lambda name: name in ("a0001-s00000020", "a0001-s00000040")
        )
        assert [ref.step for ref in run.checkpoints.candidates()] == [30, 10]

    def test_the_last_healthy_one_outlives_any_number_of_newer_ones(self, tmp_path):
        run = Run(tmp_path, keep=2)
        for step in range(10, 130, 10):
            run.save(step)
            run.checkpoints.prune(35)
            run.checkpoints.wait()
        assert [ref.step for ref in run.checkpoints.candidates()] == [120, 110, 30]

    def test_what_dead_writers_left_goes_and_other_things_stay(self, run):
        run.save(1)
        folder = run.home / "checkpoints"
        for name in ("a0001-s00000002.partial", "a0001-s00000000.deleted", "notes.partial"):
            (folder / name).mkdir()
            (folder / name / "file").touch()
        run.checkpoints.prune(None)
        run.checkpoints.wait()
        assert {path.name for path in folder.iterdir()} == {"a0001-s00000001", "notes.partial"}

    def test_the_one_under_way_is_left_alone(self, run, monkeypatch):
        begun, may_go_on = threading.Event(), threading.Event()
        save = room.dcp.save

        def slow(*args, **options):
            begun.set()
            assert may_go_on.wait(20)
            return save(*args, **options)

        monkeypatch.setattr(room.dcp, "save", slow)
        run.checkpoints.save(run.snapshots.take(1, 0), 1, {}, blocked_seconds=0.0)
        assert begun.wait(20)
        run.checkpoints.prune(None)
        may_go_on.set()
        run.checkpoints.wait()
        assert [type(event) for event in run.checkpoints.poll()] == [CheckpointSaved]

    def test_one_that_is_finished_meanwhile_is_not_taken_for_surplus(self, tmp_path, monkeypatch):
        run = self.fill(tmp_path)
        look = room._subfolders

        def look_and_finish(folder):
            found = look(folder)
            shutil.copytree(found[0], folder / "a0001-s00000050", dirs_exist_ok=True)
            return found

        with monkeypatch.context() as patch:
            patch.setattr(room, "_subfolders", look_and_finish)
            run.checkpoints.prune(None)
        assert [ref.step for ref in run.checkpoints.candidates()] == [50, 40, 30]

    def test_a_folder_that_cannot_be_deleted_disturbs_nobody(self, tmp_path, monkeypatch):
        def refuse(*args, **options):
            raise OSError(errno.EROFS, "Read-only file system")

        run = self.fill(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", refuse)
            run.checkpoints.prune(None)
        assert len(names(run)) == 4


class TestSettings:
    def test_a_place_for_none_is_refused(self, tmp_path):
        with pytest.raises(SettingError, match=r"keep=0 deletes every checkpoint.*Write keep=3"):
            Run(tmp_path, keep=0)

    def test_several_ranks_need_a_group(self, tmp_path, monkeypatch):
        monkeypatch.setattr(room.dist, "is_initialized", lambda: True)
        monkeypatch.setattr(room.dist, "get_world_size", lambda: 4)
        with pytest.raises(SettingError, match=r"group=None, but there are 4 ranks.*new_group"):
            Run(tmp_path)


KILLED = """
import os, random, shutil, signal, sys, threading, time
from pathlib import Path
import torch
from torch import nn
from steadytrain.train import scribe
from steadytrain.train.checkpoints import Checkpoints
from steadytrain.train.snapshots import Snapshots
from steadytrain.train.state import TrainingState
from tests.ranks import need_shards_on_the_cpu

folder = Path(sys.argv[1]) / "checkpoints"
scribe.AHEAD_BYTES = 400_000
torch.set_num_threads(1)  # a fork loses the others

def make():
    model = nn.Linear(300, 300)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    model.weight.grad = torch.randn(300, 300)
    optimizer.step()
    state = TrainingState(model, optimizer)
    return Checkpoints(folder, state, keep=1), Snapshots(state, keep=1)

def save_and_prune(attempt, step):
    checkpoints, snapshots = make()
    checkpoints.save(snapshots.take(step, 0), attempt, {}, blocked_seconds=0.0)
    checkpoints.wait()
    checkpoints.prune(None)
    checkpoints.wait()
    assert type(checkpoints.poll()[0]).__name__ == "CheckpointSaved"

def kill_at(number):
    # Dies just before this process touches the disk for that time: opens, makes, renames, removes,
    # and in the thread that saves also syncs, closes, hands over, and some of its writes and
    # flushes, of which most end in a buffer.
    seen = 0
    every = {"write": 16, "flush": 4, "fsync": 1, "close": 1, "posix_fadvise": 1}
    calls = dict.fromkeys(every, 0)
    def touch():
        nonlocal seen
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
    def count(event, args):
        is_ours = event == "open" and str(folder) in str(args[0])
        if is_ours or event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir"):
            touch()
    def call(frame, event, what):
        name = what.__name__ if event == "c_call" else ""
        if name in every and getattr(what, "__module__", None) in ("posix", None):
            calls[name] += 1
            if calls[name] % every[name] == 0:
                touch()
    sys.addaudithook(count)
    threading.setprofile(call)

def in_child(work):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    return pid

def inspect():
    checkpoints, _ = make()
    refs = checkpoints.candidates()
    for ref in refs:
        checkpoints.verify(ref.path)
    return [ref.step for ref in refs]

os.waitpid(in_child(lambda: save_and_prune(1, 1)), 0)
numbers = 0
while True:
    numbers += 1
    def work():
        kill_at(numbers)
        save_and_prune(1, 2)
    _, status = os.waitpid(in_child(work), 0)
    steps = inspect()
    assert steps in ([1], [2, 1], [2]), steps
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0
        assert steps == [2]
        break
    shutil.rmtree(folder / "a0001-s00000002", ignore_errors=True)
    if 1 not in steps:
        os.waitpid(in_child(lambda: save_and_prune(1, 1)), 0)
print("boundaries", numbers - 1)
chance = random.Random(0)
for attempt in range(2, 12):
    def work():
        for step in range(100):
            save_and_prune(attempt, step)
    pid = in_child(work)
    time.sleep(chance.uniform(0.01, 0.15))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert inspect(), "a finished checkpoint was lost"
"""


def test_killed_at_any_moment_it_leaves_old_or_new_and_never_a_mixture(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[1]) > 40


class TestExtras:
    """What the guard itself has learned."""

    def test_it_comes_back_bit_for_bit(self, tmp_path):
        path = Run(tmp_path, extras={"seen": torch.tensor([0.1, float("nan")])}).save(5)
        seen = torch.zeros(2)
        Run(tmp_path, extras={"seen": seen}).checkpoints.restore(path)
        assert seen.numpy().tobytes() == torch.tensor([0.1, float("nan")]).numpy().tobytes()

    def test_it_begins_anew_from_a_checkpoint_without_it(self, tmp_path):
        old = Run(tmp_path)
        old.train(3)
        path = old.save(3)
        seen = torch.zeros(2)
        new = Run(tmp_path, extras={"seen": seen})
        seen.fill_(7.0)
        new.checkpoints.restore(path)
        assert seen.tolist() == [0.0, 0.0]
        found = new.copy()
        assert found.pop("guard.seen") is not None
        assert_same_bits(found, old.copy())

    def test_it_begins_anew_where_its_shape_is_another_now(self, tmp_path):
        path = Run(tmp_path, extras={"seen": torch.ones(2), "kept": torch.ones(1)}).save(5)
        seen, kept = torch.zeros(3), torch.zeros(1)
        Run(tmp_path, extras={"seen": seen, "kept": kept}).checkpoints.restore(path)
        assert (seen.tolist(), kept.tolist()) == ([0.0] * 3, [1.0])

    def test_a_checkpoint_that_knows_more_loads_too(self, tmp_path):
        path = Run(tmp_path, extras={"later": torch.ones(2)}).save(5)
        Run(tmp_path).checkpoints.restore(path)


TWO_RANKS = """
import errno, json, os, sys, time
from pathlib import Path
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from steadytrain.errors import CheckpointError
from steadytrain.train import checkpoints as room
from steadytrain.train import manifest
from steadytrain.train.checkpoints import Checkpoints
from steadytrain.train.snapshots import Snapshots
from steadytrain.train.state import TrainingState
from tests.ranks import need_shards_on_the_cpu

home, rank = Path(sys.argv[1]), int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{home}/store", rank=rank, world_size=2)

class Run:
    def __init__(self, kind):
        torch.manual_seed(3)
        # 7 rows do not divide among 2 ranks.
        model = nn.Sequential(nn.Linear(6, 7), nn.Dropout(0.3), nn.Sequential(nn.Linear(7, 1)))
        if kind == "ddp":
            model = DistributedDataParallel(model)
        else:
            fully_shard(model[2])
            fully_shard(model)
        self.model = model
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
        self.state = TrainingState(model, self.optimizer)
        self.snapshots = Snapshots(self.state, keep=3)
        self.checkpoints = Checkpoints(
            home / kind, self.state, group=dist.new_group(backend="gloo")
        )
        torch.manual_seed(100 + rank)

    def train(self, steps):
        for _ in range(steps):
            self.model(torch.randn(4, 6)).square().mean().backward()
            self.optimizer.step()
            self.optimizer.zero_grad()

    @torch.no_grad()
    def full(self):
        tensors = self.state.tensors().items()
        return {
            name: (one.full_tensor() if hasattr(one, "full_tensor") else one).detach().clone()
            for name, one in tensors
        }

    def save(self, step):
        self.checkpoints.save(self.snapshots.take(step, 0), 1, {}, blocked_seconds=0.0)
        self.checkpoints.wait()
        return [type(event).__name__ for event in self.checkpoints.poll()]

def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)

told = {}
for kind in ("ddp", "fsdp"):
    run = Run(kind)
    begin = run.snapshots.take(0, 0)
    run.train(3)
    snapshot = run.snapshots.take(3, 0)
    told[f"{kind} saved"] = run.save(4)
    at_save = run.full()
    run.train(2)
    first = run.full()
    run.snapshots.restore(snapshot)
    run.train(2)
    told[f"{kind} continues from a snapshot"] = same(run.full(), first)
    with torch.no_grad():
        run.model(torch.randn(4, 6))  # FSDP2 keeps the root gathered after this
    run.checkpoints.restore(home / kind / "a0001-s00000004")
    told[f"{kind} is restored"] = same(run.full(), at_save)
    run.train(2)
    told[f"{kind} continues from a checkpoint"] = same(run.full(), first)
    run.snapshots.restore(begin)
    told[f"{kind} returns to the beginning"] = not run.optimizer.state
    run.checkpoints.restore(home / kind / "a0001-s00000004")
    told[f"{kind} makes moments"] = same(run.full(), at_save)
    if rank == 0:
        torch.save(at_save, home / f"{kind}.pt")

real = room.HashedFiles
class FullDisk(real):
    def create_stream(self, path, mode):
        raise OSError(errno.ENOSPC, "No space left on device")
if rank == 1:
    room.HashedFiles = FullDisk
run.checkpoints.save(run.snapshots.take(5, 0), 1, {}, blocked_seconds=0.0)
run.checkpoints.wait()
told["one rank fails"] = [event.reason for event in run.checkpoints.poll()]
room.HashedFiles = real

# Rank 0 hurries and cannot take the third; rank 1 could, and must not.
if rank == 0:
    room.HashedFiles = lambda: time.sleep(0.3) or real()
for step in (6, 7, 8):
    run.checkpoints.save(run.snapshots.take(step, 0), 1, {}, blocked_seconds=0.0)
    if rank == 1:
        run.checkpoints.wait()
run.checkpoints.wait()
room.HashedFiles = real
told["one rank is slow"] = [
    getattr(event, "reason", "saved") for event in run.checkpoints.poll()
]

path = home / "fsdp" / "a0001-s00000006"
if rank == 1:
    room.HashedFiles = lambda: time.sleep(0.3) or real()
before = run.full()
run.checkpoints.save(run.snapshots.take(9, 0), 1, {}, blocked_seconds=0.0)
run.checkpoints.restore(path)
told["restored while saving"] = [type(event).__name__ for event in run.checkpoints.poll()]
room.HashedFiles = real
dist.barrier()
if rank == 0:
    raw = bytearray((path / "__1_0.distcp").read_bytes())
    raw[3000] ^= 4
    (path / "__1_0.distcp").write_bytes(raw)
dist.barrier()
before = run.full()
try:
    run.checkpoints.restore(path)
except CheckpointError as error:
    told["one file is damaged"] = str(error)
told["nothing was touched"] = same(run.full(), before)
(home / f"told{rank}.json").write_text(json.dumps(told))
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """What two gloo ranks had to tell, and their home."""
    need_shards_on_the_cpu()
    home = tmp_path_factory.mktemp("two-ranks")
    command = [sys.executable, "-W", "ignore", "-c", TWO_RANKS, home]
    ranks = [
        subprocess.Popen([*command, str(rank)], stderr=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    for rank in ranks:
        _, errors = rank.communicate(timeout=100)
        assert rank.returncode == 0, errors
    return home, [json.loads((home / f"told{rank}.json").read_text()) for rank in (0, 1)]


class TestTwoRanks:
    @pytest.mark.parametrize("kind", ["ddp", "fsdp"])
    def test_state_comes_back_bit_for_bit(self, two_ranks, kind):
        for told in two_ranks[1]:
            assert told[f"{kind} saved"] == ["CheckpointSaved"]
            facts = {what: fact for what, fact in told.items() if what.startswith(f"{kind} ")}
            assert len(facts) == 6
            assert all(facts.values()), facts

    @pytest.mark.parametrize("kind", ["ddp", "fsdp"])
    def test_one_rank_restores_what_two_have_saved(self, two_ranks, kind):
        home, _ = two_ranks
        model = nn.Sequential(nn.Linear(6, 7), nn.Dropout(0.3), nn.Sequential(nn.Linear(7, 1)))
        state = TrainingState(model, torch.optim.AdamW(model.parameters(), fused=True))
        Checkpoints(home / kind, state).restore(home / kind / "a0001-s00000004")
        saved = torch.load(home / f"{kind}.pt")
        assert_same_bits({k: v.detach() for k, v in state.tensors().items()}, saved)

    def test_if_one_rank_cannot_write_all_report_the_same(self, two_ranks):
        for told in two_ranks[1]:
            [reason] = told["one rank fails"]
            assert reason.startswith("rank 1: the disk is full")

    def test_if_one_rank_must_skip_all_skip(self, two_ranks):
        for told in two_ranks[1]:
            first, second, third = told["one rank is slow"]
            assert (first, second) == ("saved", "saved")
            assert third.startswith("rank 0: it was skipped")

    def test_a_restore_waits_for_the_save_under_way(self, two_ranks):
        for told in two_ranks[1]:
            assert told["restored while saving"] == ["CheckpointSaved"]

    def test_all_refuse_what_one_found_damaged(self, two_ranks):
        for told in two_ranks[1]:
            assert "damaged __1_0.distcp" in told["one file is damaged"]
            assert told["nothing was touched"]
