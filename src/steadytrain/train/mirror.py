"""A second copy of a run in an object store, from which a host without the disk goes on.

A checkpoint goes up when it is durable, and the journal up to it before its manifest, so what is
there can be gone on from. What was decided since goes up at once: a host that begins from there
obeys it. Rank 0 alone does the work, in a thread, and no failure of it stops training; all ranks
wait together for what comes down. How the copy lies there: store.py.
"""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from steadytrain import journal, progress
from steadytrain.errors import CheckpointError
from steadytrain.events import CheckpointMirrored, CheckpointSaved, MirrorFailed
from steadytrain.train.claim import Claim
from steadytrain.train.fetching import fetch_journal, fetch_newest
from steadytrain.train.manifest import MANIFEST, read_manifest
from steadytrain.train.ranks import ROUND_SECONDS, Ranks
from steadytrain.train.retention import CheckpointRef, kept
from steadytrain.train.store import CHECKPOINTS, Store

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
        self._claim = Claim(self._store, home)
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
        self._insist(
            lambda: fetch_journal(self._store, self._home), "so the run cannot go on from there"
        )
        return True

    def claim(self) -> None:
        """Make it this life's: what another life or run of the same URL does is refused from now.

        Raises:
            CheckpointError: it holds another run, or this one has gone on elsewhere.
        """
        error = self._calls.submit(self._claim.make).exception()
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
        if self._claim.reason_to_stop is not None:
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
        if self._claim.reason_to_stop is not None:
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

    def wait(self, seconds: float | None = None) -> bool:
        """Until everything begun has ended, well or not; whether it has within this time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._thread is None, seconds)

    def fetch_record_together(self, ranks: Ranks, *, say: Callable[[str], None]) -> None:
        """`fetch_record` on rank 0, while the others wait. Every rank, same order."""
        is_first = ranks.rank == 0
        if self.fetch_together(self.fetch_record if is_first else None, ranks) and is_first:
            say(f"the journal was fetched from {self.url}")

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
            where it lies now; None if there is none.

        Args:
            wanted: is asked newest first.

        Raises:
            CheckpointError: the store cannot be read, which is also said by `poll`.
        """
        found, error = self._try(lambda: fetch_newest(self._store, folder, wanted))
        if error is None:
            return found
        self._say(MirrorFailed(reason=self._words(error)))
        raise self._out_of_reach(
            error, "read", "and no checkpoint is left here: to begin anew would throw the run away"
        )

    def finish(self) -> None:
        """Wait for what is under way and bring the rest of the journal, while anything moves."""
        if self._claim.is_held:
            self.bring_journal()
        moved, since = self._store.moved, time.monotonic()
        if not self.wait(0.0):
            progress.beat("upload")
        while not self.wait(ROUND_SECONDS):
            progress.beat("upload")
            if self._store.moved != moved:
                moved, since = self._store.moved, time.monotonic()
            elif time.monotonic() - since > STALL_SECONDS:
                self._say(
                    MirrorFailed(reason=f"nothing has gone up for {STALL_SECONDS:.0f} s at the end")
                )
                break
        self._calls.shutdown(wait=False)

    def _sizes(self) -> dict[Path, int]:
        return {path: path.stat().st_size for path in journal.files(self._home, "rank0")}

    def _insist(self, work: Callable[[], T], else_: str, *, verb: str = "read") -> T:
        found, error = self._try(work)
        if error is not None:
            raise self._out_of_reach(error, verb, else_)
        return cast(T, found)

    def _out_of_reach(self, error: BaseException, verb: str, else_: str) -> CheckpointError:
        if isinstance(error, CheckpointError):
            return error
        return CheckpointError(
            f"{self.url} cannot be {verb} ({self._words(error)}), {else_}. Mend the way to it "
            "and start again; or write mirror=None to begin without."
        )

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
        def work() -> None:
            self._claim.make()
            self._claim.insist()
            self._upload_journal(sizes)

        _, error = self._try(work)
        if error is not None:
            self._say(MirrorFailed(reason=self._why_not_up(error)))

    def _copy_up(self, job: _Job) -> CheckpointMirrored | MirrorFailed:
        began = time.monotonic()
        num_bytes, error = self._try(lambda: self._upload(job))
        if error is not None:
            return MirrorFailed(step=job.saved.step, reason=self._why_not_up(error))
        return CheckpointMirrored(
            attempt=job.saved.attempt,
            step=job.saved.step,
            path=f"{self.url.rstrip('/')}/{job.saved.path}",
            bytes=num_bytes or 0,
            seconds=time.monotonic() - began,
        )

    def _why_not_up(self, error: BaseException) -> str:
        reason = self._words(error)
        if isinstance(error, CheckpointError):
            return reason
        return f"{reason}, {TRIES} times in a row; it is tried again with the next checkpoint"

    def _try(self, work: Callable[[], T]) -> tuple[T | None, BaseException | None]:
        """What the first try gives that succeeds; or why none did."""
        error: BaseException | None = None
        for number in range(TRIES):
            if number:
                self._wait(FIRST_WAIT_SECONDS * 2 ** (number - 1))
            called = self._calls.submit(work)
            error = called.exception()
            if error is None:
                return called.result(), None
            if isinstance(error, CheckpointError):
                break  # no other try would go better
        return None, error

    def _upload(self, job: _Job) -> int:
        """Everything that is missing, the manifest last; then what is too many. Bytes copied."""
        self._claim.make()
        path = self._home / job.saved.path
        manifest = read_manifest(path)
        num_bytes = self._upload_journal(job.sizes)
        for name in manifest["files"]:
            num_bytes += self._store.put(path / name, f"{CHECKPOINTS}/{path.name}/{name}")
        self._claim.insist()
        num_bytes += self._store.put(path / MANIFEST, f"{CHECKPOINTS}/{path.name}/{MANIFEST}")
        self._prune(job)
        return num_bytes

    def _upload_journal(self, sizes: dict[Path, int]) -> int:
        num_bytes = 0
        for path, end in sizes.items():
            begin = self._claim.sent.get(path.name, 0)
            if begin >= end:
                continue  # it went up with something that was decided since
            with open(path, "rb") as file:
                os.fsync(file.fileno())  # a power cut must not leave less here than is there
                file.seek(begin)
                body = file.read(end - begin)
            self._store.put_stretch(path.name, begin, body)
            self._claim.sent[path.name] = end
            num_bytes += len(body)
        return num_bytes

    def _prune(self, job: _Job) -> None:
        found = self._store.refs()
        refs = [one for one in found if job.allowed(one) and not job.refused(one.path.name)]
        stays = kept(refs, self._keep, job.healthy_until)
        for name in [one.path.name for one in found if one not in stays]:
            self._store.remove_checkpoint(name)

    def _words(self, error: BaseException) -> str:
        if isinstance(error, CheckpointError):
            return str(error)
        return self._store.blot(f"{type(error).__name__}: {error}")
