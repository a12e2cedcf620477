"""A second copy of a run in an object store, from which a host without the disk goes on.

A checkpoint goes up when it is durable, and the journal up to it before its manifest, so what is
there can be gone on from. What was decided since goes up at once: a host that begins from there
obeys it. Rank 0 alone does the work, in a thread, and no failure of it stops training; all ranks
wait together for what comes down. How the copy lies there: store.py.
"""

import contextlib
import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import xxhash

from steadytrain import durable, journal, progress
from steadytrain.errors import CheckpointError
from steadytrain.events import CheckpointMirrored, CheckpointSaved, MirrorFailed
from steadytrain.train.manifest import MANIFEST, inspect, read_manifest
from steadytrain.train.ranks import ROUND_SECONDS, Ranks
from steadytrain.train.retention import PARTIAL, CheckpointRef, kept
from steadytrain.train.store import CHECKPOINTS, JOURNAL, RUN, Store

T = TypeVar("T")

TRIES = 5
"""Of one upload; the next checkpoint brings everything that is missing. Source: guess."""

FIRST_WAIT_SECONDS = 1.0
"""Before the second try, twice as long before each further one: 15 s in all. Source: guess."""

STALL_SECONDS = 300.0
"""At the run's end: when nothing has gone up for so long, nothing more is waited for. Half of what
a supervisor grants to a phase that not every step has. Source: guess."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """A checkpoint that is to be there, with the journal as long as it was then."""

    saved: CheckpointSaved
    sizes: dict[Path, int]
    healthy_until: int
    allowed: Callable[[CheckpointRef], bool]
    refused: Callable[[str], bool]


class Mirror:
    """Copies durable checkpoints up, and back down where a home has none that can be used.

    Args:
        url: where, in fsspec's spelling; keys and endpoints come from the store's environment.
        home: of the run.
        keep: newest checkpoints that are left there; and the newest healthy one.
        wait: sleeps. [seconds]

    Attributes:
        url: where, as people may read it.

    Raises:
        SettingError: nothing here can reach such a URL.
    """

    def __init__(
        self, url: str, home: Path, *, keep: int, wait: Callable[[float], None] = time.sleep
    ) -> None:
        self._store = Store(url)
        self.url = self._store.url
        self._home = home
        self._keep = keep
        self._wait = wait
        self._token = uuid.uuid4().hex
        self._has_claimed = False
        self._reason_to_stop: str | None = None
        self._sent: dict[str, int] = {}
        self._changed = threading.Condition()
        self._job: _Job | None = None
        self._waiting: _Job | None = None
        self._sizes_waiting: dict[Path, int] | None = None
        self._thread: threading.Thread | None = None
        self._events: list[CheckpointMirrored | MirrorFailed] = []
        # A store's own errors are of any class; a future holds whatever was raised.
        self._calls = ThreadPoolExecutor(1, thread_name_prefix="mirror")

    def fetch_record(self) -> bool:
        """Bring the journal of the run into a home that holds none; whether there was one.

        Raises:
            CheckpointError: the store cannot be reached, holds a run of another name, or is empty
                and takes nothing.
        """
        if journal.files(self._home, "rank0"):
            return False
        found = self._insist(self._store.read_run, "so it is not known whether the run has begun")
        if found is None:
            # A misspelt bucket looks empty, and read-only keys let a run begin without a copy.
            self._insist(
                self._store.prove_writable, "so a new run would have no copy", verb="written"
            )
            return False
        if found["name"] != self._home.name:
            raise CheckpointError(
                f"{self.url} holds the run {found['name']!r}, this home is {self._home.name!r}: "
                "two runs in one place would overwrite each other. Write another URL; or, to go on "
                f"with that run, a home of its name, as runs/{found['name']}."
            )
        self._insist(self._fetch_journal, "so the run cannot go on from there")
        return True

    def claim(self) -> None:
        """Make it this life's: what another life or run of the same URL does is refused from now.

        Raises:
            CheckpointError: it holds another run, or this one has gone on elsewhere.
        """
        error = self._calls.submit(self._claim).exception()
        if isinstance(error, CheckpointError):
            raise error  # a store that cannot be reached now is tried again with each upload

    def begin(
        self,
        saved: CheckpointSaved,
        *,
        healthy_until: int,
        allowed: Callable[[CheckpointRef], bool],
        refused: Callable[[str], bool],
    ) -> None:
        """Begin to copy a checkpoint and return. One that still waits gives way to it.

        Args:
            healthy_until, allowed, refused: as `Checkpoints.prune` takes them.
        """
        if self._reason_to_stop is not None:
            return
        job = _Job(
            saved=saved,
            sizes=self._sizes(),
            healthy_until=healthy_until,
            allowed=allowed,
            refused=refused,
        )
        with self._changed:
            self._waiting = job
            self._start()

    def bring_journal(self) -> None:
        """Begin to copy the journal as far as it is now, and return."""
        if self._reason_to_stop is not None:
            return
        with self._changed:
            self._sizes_waiting = self._sizes()
            self._start()

    def in_use(self) -> set[str]:
        """Names of checkpoints that are still to be read from the disk."""
        with self._changed:
            return {Path(job.saved.path).name for job in (self._job, self._waiting) if job}

    def poll(self) -> list[CheckpointMirrored | MirrorFailed]:
        """What ended since the last call."""
        with self._changed:
            events, self._events = self._events, []
        return events

    def wait(self) -> None:
        """Until everything begun has ended, well or not."""
        with self._changed:
            self._changed.wait_for(lambda: self._thread is None)

    def fetch_together(self, work: Callable[[], T] | None, ranks: Ranks) -> T:
        """What work of rank 0 with this mirror gives, on all ranks, which show that they wait.

        Every rank, same order.
        """
        progress.beat("download")
        found = ranks.wait_for(
            work, moved=lambda: self._store.moved, beat=lambda: progress.beat("download")
        )
        progress.beat("restore")
        return found

    def fetch(self, folder: Path, wanted: Callable[[CheckpointRef], bool]) -> CheckpointRef | None:
        """Bring the newest complete and sound checkpoint that is wanted into a folder.

        Returns:
            where it lies now; None if there is none, or the store cannot be reached.

        Args:
            wanted: is asked newest first.
        """
        found = self._calls.submit(lambda: self._fetch(folder, wanted))
        error = found.exception()
        if error is None:
            return found.result()
        self._say(MirrorFailed(reason=self._words(error)))
        return None

    def finish(self) -> None:
        """Wait for what is under way and bring the rest of the journal, while anything moves."""
        if self._has_claimed:
            self.bring_journal()
        moved, since = self._store.moved, time.monotonic()
        while not self._has_ended_within(ROUND_SECONDS):
            progress.beat("upload")
            if self._store.moved != moved:
                moved, since = self._store.moved, time.monotonic()
            elif time.monotonic() - since > STALL_SECONDS:
                self._say(
                    MirrorFailed(reason=f"nothing has gone up for {STALL_SECONDS:.0f} s at the end")
                )
                break
        self._calls.shutdown(wait=False)

    def _has_ended_within(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._thread is None, seconds)

    def _sizes(self) -> dict[Path, int]:
        return {path: path.stat().st_size for path in journal.files(self._home, "rank0")}

    def _insist(self, work: Callable[[], T], else_: str, *, verb: str = "read") -> T:
        called = self._calls.submit(work)
        error = called.exception()
        if isinstance(error, CheckpointError):
            raise error
        if error is not None:
            raise CheckpointError(
                f"{self.url} cannot be {verb} ({self._words(error)}), {else_}. Mend the way to it "
                "and start again; or write mirror=None to begin without."
            ) from error
        return called.result()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        """The thread: until nothing waits."""
        while True:
            with self._changed:
                sizes, self._sizes_waiting = self._sizes_waiting, None
                if sizes is None:
                    self._job, self._waiting = self._waiting, None
                job = self._job
                if sizes is None and job is None:
                    self._thread = None
                    self._changed.notify_all()
                    return
            if sizes is not None:
                self._bring_up(sizes)
            elif job is not None:
                self._say(self._copy_up(job))

    def _say(self, event: CheckpointMirrored | MirrorFailed) -> None:
        with self._changed:
            self._events.append(event)

    def _bring_up(self, sizes: dict[Path, int]) -> None:
        def work() -> int:
            self._claim()
            self._insist_on_claim()
            return self._upload_journal(sizes)

        _, reason = self._try(work)
        if reason is not None:
            self._say(MirrorFailed(reason=reason))

    def _copy_up(self, job: _Job) -> CheckpointMirrored | MirrorFailed:
        began = time.monotonic()
        num_bytes, reason = self._try(lambda: self._upload(job))
        if reason is not None:
            return MirrorFailed(step=job.saved.step, reason=reason)
        return CheckpointMirrored(
            attempt=job.saved.attempt,
            step=job.saved.step,
            path=f"{self.url.rstrip('/')}/{job.saved.path}",
            bytes=num_bytes,
            seconds=time.monotonic() - began,
        )

    def _try(self, work: Callable[[], int]) -> tuple[int, str | None]:
        """Bytes copied by the first try that succeeds; or why none did."""
        error: BaseException | None = None
        for number in range(TRIES):
            if number:
                self._wait(FIRST_WAIT_SECONDS * 2 ** (number - 1))
            called = self._calls.submit(work)
            error = called.exception()
            if error is None:
                return called.result(), None
            if isinstance(error, CheckpointError):
                return 0, str(error)  # no other try would go better
        assert error is not None
        return 0, (
            f"{self._words(error)}, {TRIES} times in a row; it is tried again with the next "
            "checkpoint"
        )

    def _upload(self, job: _Job) -> int:
        """Everything that is missing, the manifest last; then what is too many. Bytes copied."""
        self._claim()
        path = self._home / job.saved.path
        manifest = read_manifest(path)
        num_bytes = self._upload_journal(job.sizes)
        for name in manifest["files"]:
            num_bytes += self._store.put(path / name, f"{CHECKPOINTS}/{path.name}/{name}")
        self._insist_on_claim()
        num_bytes += self._store.put(path / MANIFEST, f"{CHECKPOINTS}/{path.name}/{MANIFEST}")
        self._prune(job)
        return num_bytes

    def _upload_journal(self, sizes: dict[Path, int]) -> int:
        num_bytes = 0
        for path, end in sizes.items():
            begin = self._sent.get(path.name, 0)
            if begin == end:
                continue
            with open(path, "rb") as file:
                os.fsync(file.fileno())  # a power cut must not leave less here than is there
                file.seek(begin)
                body = file.read(end - begin)
            self._store.put_stretch(path.name, begin, body)
            self._sent[path.name] = end
            num_bytes += len(body)
        return num_bytes

    def _prune(self, job: _Job) -> None:
        found = self._store.refs()
        refs = [one for one in found if job.allowed(one) and not job.refused(one.path.name)]
        stays = kept(refs, self._keep, job.healthy_until)
        for name in [one.path.name for one in found if one not in stays]:
            self._store.remove_checkpoint(name)

    def _claim(self) -> None:
        if self._reason_to_stop is not None:
            raise CheckpointError(self._reason_to_stop)
        if self._has_claimed:
            return
        found, mine = self._store.read_run(), self._identity()
        if found is not None and found["run"] != mine:
            self._stop(
                f"{self.url} holds another run ({found['name']!r}), which would be overwritten. "
                "Write another URL"
            )
        self._compare_journal()
        words = {"format": 1, "run": mine, "name": self._home.name, "life": self._token}
        self._store.put_bytes(json.dumps(words).encode(), RUN)
        self._has_claimed = True

    def _insist_on_claim(self) -> None:
        found = self._store.read_run()
        if found is None or found["life"] != self._token:
            self._stop(
                f"another process writes to {self.url} now, so this one does not any more. Let one "
                "of them write to another URL"
            )

    def _stop(self, reason: str) -> None:
        self._reason_to_stop = reason
        raise CheckpointError(reason)

    def _identity(self) -> str:
        """Of the run: its first line, which no other run has, since it holds the time."""
        with open(journal.files(self._home, "rank0")[0], "rb") as file:
            return xxhash.xxh3_128_hexdigest(file.readline())

    def _compare_journal(self) -> None:
        for name, pieces in self._store.pieces().items():
            path = self._home / JOURNAL / name
            for begin, end, digest in pieces:
                body = b""
                if path.exists():
                    with open(path, "rb") as file:
                        file.seek(begin)
                        body = file.read(end - begin)
                if xxhash.xxh3_128_hexdigest(body) != digest:
                    self._stop(
                        f"the run has gone on from {self.url} in another home: {name} is longer or "
                        "another there, and two ends of one run cannot be told apart. Go on there; "
                        "or write another URL"
                    )
                self._sent[name] = end

    def _fetch_journal(self) -> None:
        """The longest beginning that is as it was written; a file lacks its end at most."""
        folder = self._home / JOURNAL
        folder.mkdir(parents=True, exist_ok=True)
        for name, pieces in self._store.pieces().items():
            whole, is_damaged = b"", False
            for begin, end, digest in pieces:
                if end <= len(whole):
                    continue  # it arrived, nobody heard of it, and a longer one was sent
                body = self._store.read_stretch(name, begin, end, digest)
                is_damaged = begin > len(whole) or xxhash.xxh3_128_hexdigest(body) != digest
                if is_damaged:
                    break
                whole += body[len(whole) - begin :]
            if whole:
                durable.write(folder / name, whole)
            if is_damaged:
                return

    def _fetch(self, folder: Path, wanted: Callable[[CheckpointRef], bool]) -> CheckpointRef | None:
        for ref in self._store.refs():
            if not wanted(ref):
                continue
            with contextlib.suppress(CheckpointError):  # damaged there too: an older one
                return self._fetch_one(ref, folder)
        return None

    def _fetch_one(self, ref: CheckpointRef, folder: Path) -> CheckpointRef:
        name = ref.path.name
        partial = folder / (name + PARTIAL)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        self._store.get(f"{CHECKPOINTS}/{name}/{MANIFEST}", partial / MANIFEST)
        files = read_manifest(partial)["files"]
        for one in files:
            self._store.get(f"{CHECKPOINTS}/{name}/{one}", partial / one)
        inspect(partial, files)
        durable.sync_folder(partial)
        shutil.rmtree(folder / name, ignore_errors=True)  # it was refused
        partial.rename(folder / name)
        durable.sync_folder(folder)
        return CheckpointRef(folder / name, ref.attempt, ref.step)

    def _words(self, error: BaseException) -> str:
        if isinstance(error, CheckpointError):
            return str(error)
        return self._store.blot(f"{type(error).__name__}: {error}")
