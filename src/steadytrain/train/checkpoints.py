"""Checkpoints on disk: written beside training, restored only if every byte is as it was written.

    a0001-s00000100/              attempt 1, after step 100; PyTorch's distributed format
        .metadata  __0_0.distcp   written and synced by torch.distributed.checkpoint (DCP)
        manifest.json             written last: what it is, and size and xxh3-128 of every file

A folder is written as `<name>.partial` and renamed when everything in it is synced, so a process
killed at any moment leaves either no `<name>` or a complete one. DCP itself loads a flipped bit
without a word and syncs no folder; that is what the manifest and the renames are for.
"""

import copy
import errno
import json
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import xxhash
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemWriter

from steadytrain import durable
from steadytrain.errors import CheckpointError, SettingError
from steadytrain.events import CheckpointFailed, CheckpointSaved
from steadytrain.train import dcp
from steadytrain.train.crew import Crew, explain
from steadytrain.train.hashed import HashedFiles
from steadytrain.train.manifest import (
    FORMAT,
    MANIFEST,
    encode,
    inspect,
    read_manifest,
    spell,
    unspell,
)
from steadytrain.train.retention import DELETED, NAME, PARTIAL, CheckpointRef, kept, refs_of
from steadytrain.train.snapshots import Lease, Snapshot
from steadytrain.train.state import (
    TrainingState,
    digest_rng,
    is_of_guard,
    is_of_optimizer,
    layout,
)
from steadytrain.train.writer import SlotStorage, Writer


@dataclass(kw_only=True, slots=True)
class _Job:
    """One call of `save`. Without a snapshot it only tells the other ranks that it is skipped."""

    name: str
    attempt: int
    step: int
    draw: int
    snapshot: Snapshot | None
    lease: Lease | None
    extra: dict[str, Any]
    blocked_seconds: float


class Checkpoints:
    """Saves snapshots beside training; finds, verifies and restores what was saved.

    A thread sees to it; what lies in shared memory a process of its own writes.

    Args:
        folder: where they lie, in the run's home; shared by all ranks.
        state: what is restored into.
        keep: newest checkpoints that `prune` leaves.
        clock: measures durations. [seconds]
        group: gloo group of all ranks that nobody else uses; None for one rank.

    Raises:
        SettingError: keep < 1; several ranks without a group.
    """

    def __init__(
        self,
        folder: Path,
        state: TrainingState,
        *,
        keep: int = 3,
        clock: Callable[[], float] = time.monotonic,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        if keep < 1:
            raise SettingError(
                f"keep={keep} deletes every checkpoint, so a restart would begin at step 0. "
                "Write keep=3: one to restore, two to fall back on."
            )
        if group is None and dist.is_initialized() and dist.get_world_size() > 1:
            raise SettingError(
                f"group=None, but there are {dist.get_world_size()} ranks: each would write the "
                'same files. Write Checkpoints(..., group=dist.new_group(backend="gloo")).'
            )
        self._folder = Path(folder)
        self._state = state
        self._fingerprint = state.fingerprint()
        self._keep = keep
        self._clock = clock
        self._crew = Crew(group)
        self._writer = Writer()
        self._changed = threading.Condition()
        self._jobs: deque[_Job | Path] = deque()
        self._thread: threading.Thread | None = None
        self._events: list[CheckpointSaved | CheckpointFailed] = []

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return self._folder

    def save(
        self, snapshot: Snapshot, attempt: int, extra: dict[str, Any], *, blocked_seconds: float
    ) -> None:
        """Begin to write a snapshot and return; `poll` tells how it ended. Nothing is raised.

        One is written at a time and one may wait; a third is skipped on all ranks, and reported.
        Every rank, same order.

        Args:
            extra: kept in the manifest; plain data.
            blocked_seconds: what the snapshot cost the training loop, for the record.
        """
        dcp.permit_one_rank()
        with self._changed:
            is_full = sum(isinstance(job, _Job) and job.lease is not None for job in self._jobs) > 1
            job = _Job(
                name=f"a{attempt:04d}-s{snapshot.step:08d}",
                attempt=attempt,
                step=snapshot.step,
                draw=snapshot.draw,
                snapshot=None if is_full else snapshot,
                lease=None if is_full else snapshot.lease(),
                extra=copy.deepcopy(extra),
                blocked_seconds=blocked_seconds,
            )
            self._enqueue(job)

    def poll(self) -> list[CheckpointSaved | CheckpointFailed]:
        """What ended since the last call; paths are relative to the run's home."""
        with self._changed:
            events, self._events = self._events, []
        return events

    def wait(self) -> None:
        """Until everything begun has ended, well or not."""
        with self._changed:
            self._changed.wait_for(lambda: not self._jobs)

    def close(self) -> None:
        """End the process that writes. One that still writes ends with this process."""
        with self._changed:
            if not self._jobs:
                self._writer.close()

    def candidates(self) -> list[CheckpointRef]:
        """What is named like a finished checkpoint, newest first: by attempt, then by step."""
        return checkpoints_in(self._folder)

    def verify(self, path: Path) -> None:
        """Read every byte and compare with the manifest. This rank alone.

        Raises:
            CheckpointError: no manifest, or the first file that is not as it was written.
        """
        inspect(path, read_manifest(path)["files"])

    def vouch(self, path: Path) -> dict[str, Any]:
        """The manifest, after the ranks together have read and compared every byte.

        Every rank, same order.

        Raises:
            CheckpointError: on all ranks, if any of them found something that is not as written.
        """
        self.wait()
        manifest: dict[str, Any] = self._crew.together(lambda: self._inspect_share(path))[0]
        return manifest

    def insist_on_model(self, path: Path, manifest: Mapping[str, Any]) -> None:
        """Refuse what is sound and of another model. Every rank comes to the same.

        Raises:
            CheckpointError: its tensors do not fit this model.
        """
        if manifest["fingerprint"] != self._fingerprint:
            raise CheckpointError(
                f"{path} is of another model (fingerprint {manifest['fingerprint'][:8]}, this "
                f"model's is {self._fingerprint[:8]}): its tensors do not fit. Build the model "
                "that the run began with, or choose another home."
            )
        saved, live = manifest["tensors"], spell(layout(self._state.tensors()))
        for name in sorted(saved.keys() | live.keys()):
            is_fixed = not is_of_optimizer(name) and not is_of_guard(name)
            if is_fixed and saved.get(name) != live.get(name):
                raise CheckpointError(
                    f"{path} is of another model: {name} is {saved.get(name)} in it and "
                    f"{live.get(name)} here, so it would stay unrestored. Build the model that "
                    "the run began with, or choose another home."
                )

    def restore(self, path: Path) -> dict[str, Any]:
        """Verify a checkpoint and load it; returns its manifest. Every rank, same order.

        Raises:
            CheckpointError: it does not verify, or is of another model.
        """
        manifest = self.vouch(path)
        self.insist_on_model(path, manifest)
        self.load(path, manifest)
        return manifest

    def load(self, path: Path, manifest: Mapping[str, Any]) -> None:
        """Load what was vouched for into the live tensors, in place.

        Every rank, same order, with another number of ranks too; a rank that the checkpoint does
        not know keeps its random state. What the guard has learned begins anew where an older
        version wrote the checkpoint without it, or the guard learns something of another shape now.

        Raises:
            CheckpointError: it cannot be read after all; the live state is neither old nor new.
        """
        dcp.permit_one_rank()
        entries = unspell(manifest["tensors"])
        moments = {name: one for name, one in entries.items() if is_of_optimizer(name)}
        if not moments:
            self._state.clear_optimizer_state()
        self._state.make_optimizer_state(moments)
        rng = {
            name: torch.empty(size, dtype=torch.uint8)
            for name, size in manifest["rng"].items()
            if name.startswith(f"rng.{self._crew.rank}.")
        }
        live = self._state.tensors()
        unknown = [
            name
            for name, one in layout(live).items()
            if is_of_guard(name) and entries.get(name) != one
        ]
        self._state.begin_extras_anew(unknown)
        try:
            known = {name: live[name] for name in live if name not in unknown}
            dcp.load({**known, **rng}, path, self._crew.group)
        except CheckpointException as error:
            raise CheckpointError(
                f"{path} verified but could not be loaded ({explain(error)}), so the live state "
                "is neither old nor new. Restore another checkpoint before training on."
            ) from error
        self._state.load_leaves(manifest["leaves"])
        if rng:
            self._state.load_rng({name.split(".", 2)[2]: one for name, one in rng.items()})

    def prune(
        self,
        healthy_until: int | None,
        *,
        allowed: Callable[[CheckpointRef], bool] = lambda ref: True,
        refused: Callable[[str], bool] = lambda name: False,
        in_use: Collection[str] = (),
    ) -> None:
        """Delete all but the newest `keep` and the newest that is known to be healthy. Rank 0.

        What a killed process left unfinished goes too. The files are removed by the thread.

        Args:
            healthy_until: checkpoints up to this step are known to be good; None if none is.
            allowed: whether a checkpoint can still be gone back to; one that cannot, because its
                branch was abandoned, is not counted and not kept.
            refused: whether a checkpoint was found damaged or unlike the record; it is not counted
                either, so that it never stands for the last good one.
            in_use: names of those that somebody still reads.
        """
        # One look for all: a checkpoint that is finished meanwhile must not count as surplus.
        found = _subfolders(self._folder)
        refs = [ref for ref in refs_of(found) if allowed(ref) and not refused(ref.path.name)]
        stays = {ref.path for ref in kept(refs, self._keep, healthy_until)}
        stays |= {self._folder / name for name in in_use}
        for path in found:
            # A save under way has its final name before the thread comes to delete anything.
            is_left_over = path.suffix in (PARTIAL, DELETED) and NAME.fullmatch(path.stem)
            is_surplus = path not in stays and NAME.fullmatch(path.name)
            if is_left_over or is_surplus:
                self._delete(path)

    def _delete(self, path: Path) -> None:
        if NAME.fullmatch(path.name):
            # Renamed first: a folder half removed must not be named like a finished one.
            doomed = path.with_name(path.name + DELETED)
            try:
                path.rename(doomed)
            except OSError:
                return  # tried again next time; a disk that refuses shows in the next save
            path = doomed
        with self._changed:
            self._enqueue(path)

    def _enqueue(self, job: "_Job | Path") -> None:
        self._jobs.append(job)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="checkpoints", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        """The thread: until nothing is left to do."""
        while True:
            with self._changed:
                if not self._jobs:
                    self._thread = None
                    return
                job = self._jobs[0]
            event = None
            if isinstance(job, _Job):
                event = self._save(job)
            else:
                shutil.rmtree(job, ignore_errors=True)
            with self._changed:
                self._jobs.popleft()
                if event is not None:
                    self._events.append(event)
                self._changed.notify_all()

    def _save(self, job: _Job) -> CheckpointSaved | CheckpointFailed:
        began = self._clock()
        partial = self._folder / (job.name + PARTIAL)
        try:
            digest, num_bytes, rng = self._write(job, partial)
        # Everything: DCP's CheckpointException is no Exception, and a thread that dies would take
        # all later checkpoints with it.
        except BaseException as error:
            reason = f"{explain(error)}; training goes on without checkpoint {job.name}"
            if self._crew.rank == 0:
                shutil.rmtree(partial, ignore_errors=True)
            return CheckpointFailed(attempt=job.attempt, step=job.step, reason=reason)
        finally:
            if job.lease is not None:
                job.lease.release()
        return CheckpointSaved(
            attempt=job.attempt,
            step=job.step,
            draw=job.draw,
            path=self._relative(self._folder / job.name),
            bytes=num_bytes,
            digest=digest,
            seconds=self._clock() - began,
            blocked_seconds=job.blocked_seconds,
            rng=rng,
        )

    def _write(self, job: _Job, partial: Path) -> tuple[str, int, tuple[str, ...]]:
        """All of a save; three times the ranks tell each other how it went.

        Returns:
            digest, bytes, and digest of each rank's random state.
        """
        begun = self._crew.together(lambda: self._begin(job, partial))
        if any(entries != begun[0][0] for entries, _, _ in begun):
            raise CheckpointError(
                "the ranks hold tensors of different names or shapes, which nothing could put "
                "together again. Shard with DTensor (fully_shard), or replicate with DDP"
            )
        written = self._crew.together(lambda: self._write_tensors(job, partial))
        files = {name: entry for part in written for name, entry in part.items()}
        rng = {name: size for _, sizes, _ in begun for name, size in sizes.items()}
        digest = self._crew.together(lambda: self._publish(job, partial, rng=rng, files=files))[0]
        size = sum(size for size, _ in files.values())
        return digest, size, tuple(one for _, _, one in begun)

    def _begin(self, job: _Job, partial: Path) -> tuple[str, dict[str, int], str]:
        if job.snapshot is None:
            raise CheckpointError(
                "it was skipped: one checkpoint was being written and the next one waited, so the "
                "disk is slower than they come. Write a larger checkpoint_every"
            )
        tensors = job.snapshot.tensors
        if self._crew.rank == 0:
            self._folder.mkdir(parents=True, exist_ok=True)
            durable.sync_folder(self._folder.parent)
            if (self._folder / job.name).exists():
                raise FileExistsError(errno.EEXIST, "it is there already", str(job.name))
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            # A disk filled to the last byte would take the journal down with it.
            needed = sum(one.numel() * one.itemsize for one in tensors.values())
            if needed > shutil.disk_usage(partial).free:
                raise OSError(errno.ENOSPC, f"{needed} bytes are needed", str(self._folder))
        entries = json.dumps(spell(layout(tensors)))
        sizes = {self._rng_name(name): one.numel() for name, one in job.snapshot.rng.items()}
        return entries, sizes, digest_rng(job.snapshot.rng)

    def _write_tensors(self, job: _Job, partial: Path) -> dict[str, tuple[int, str]]:
        """This rank's tensors through DCP, synced; size and hash of the files that it wrote."""
        assert job.snapshot is not None
        rng = {self._rng_name(name): one for name, one in job.snapshot.rng.items()}
        files = HashedFiles()
        storage = self._storage(job.snapshot, partial, files)
        dcp.save({**job.snapshot.tensors, **rng}, storage, self._crew.group)
        for name, (size, _) in files.written.items():
            if (partial / name).stat().st_size != size:
                raise OSError(errno.EIO, f"{size} bytes were written to it", str(partial / name))
        return files.written

    def _storage(self, snapshot: Snapshot, partial: Path, files: HashedFiles) -> FileSystemWriter:
        """The writer's process for what lies in shared memory, else this thread."""
        slot = snapshot.slot
        if slot is not None and slot.path.exists() and self._writer.is_ready():
            return SlotStorage(partial, slot, self._writer, files)
        storage = FileSystemWriter(partial)
        storage.fs = files
        return storage

    def _publish(
        self, job: _Job, partial: Path, *, rng: dict[str, int], files: dict[str, tuple[int, str]]
    ) -> str:
        """Manifest, then the final name. Rank 0 does it, the others return at once."""
        if self._crew.rank != 0:
            return ""
        assert job.snapshot is not None
        if unknown := {path.name for path in partial.iterdir()} - files.keys():
            raise CheckpointError(f"no rank vouches for {min(unknown)}")
        manifest = {
            "format": FORMAT,
            "attempt": job.attempt,
            "step": job.step,
            "draw": job.draw,
            "fingerprint": self._fingerprint,
            "world": self._crew.world,
            "leaves": job.snapshot.leaves,
            "tensors": spell(layout(job.snapshot.tensors)),
            "rng": rng,
            "extra": job.extra,
            "files": {name: list(entry) for name, entry in sorted(files.items())},
        }
        digest = xxhash.xxh3_128_hexdigest(encode(manifest))
        durable.write(partial / MANIFEST, encode({**manifest, "digest": digest}))
        partial.rename(self._folder / job.name)
        durable.sync_folder(self._folder)
        return digest

    def _inspect_share(self, path: Path) -> dict[str, Any]:
        """The manifest, after this rank's share of the files was read."""
        manifest = read_manifest(path)
        names = sorted(manifest["files"])[self._crew.rank :: self._crew.world]
        inspect(path, {name: manifest["files"][name] for name in names})
        return manifest

    def _rng_name(self, name: str) -> str:
        return f"rng.{self._crew.rank}.{name}"

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._folder.parent).as_posix()


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.is_dir()]


def checkpoints_in(folder: Path) -> list[CheckpointRef]:
    """What is named like a finished checkpoint, newest first: by attempt, then by step."""
    return refs_of(_subfolders(folder))
