"""A second copy of a run in an object store, from which a host without the disk goes on.

A checkpoint goes up when it is durable, and the journal up to it before its manifest, so what is
there can be gone on from. Rank 0 alone holds a mirror; a thread does the work, and no failure of it
stops training. How the copy lies there: store.py.
"""

import contextlib
import json
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

from steadytrain import durable, journal
from steadytrain.errors import CheckpointError
from steadytrain.events import CheckpointMirrored, CheckpointSaved, MirrorFailed
from steadytrain.train.manifest import MANIFEST, inspect, read_manifest
from steadytrain.train.retention import PARTIAL, CheckpointRef, kept
from steadytrain.train.store import CHECKPOINTS, JOURNAL, RUN, Store

T = TypeVar("T")

TRIES = 5
"""Of one upload; the next checkpoint brings everything that is missing. Source: guess."""

FIRST_WAIT_SECONDS = 1.0
"""Before the second try, twice as long before each further one: 15 s in all. Source: guess."""


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
        url: where, in fsspec's spelling; `{"key": ...}` of a store come from its environment.
        home: of the run.
        keep: newest checkpoints that are left there; and the newest healthy one.
        wait: sleeps. [seconds]

    Raises:
        SettingError: nothing here can reach such a URL.
    """

    def __init__(
        self, url: str, home: Path, *, keep: int, wait: Callable[[float], None] = time.sleep
    ) -> None:
        self._store = Store(url)
        self.url = url
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
        self._thread: threading.Thread | None = None
        self._events: list[CheckpointMirrored | MirrorFailed] = []
        # A store's own errors are of any class; a future holds whatever was raised.
        self._calls = ThreadPoolExecutor(1, thread_name_prefix="mirror")

    def fetch_record(self) -> bool:
        """Bring the journal of the run into a home that holds none; whether there was one.

        Raises:
            CheckpointError: the store cannot be reached, or holds a run of another name.
        """
        if journal.files(self._home, "rank0"):
            return False
        found = self._insist(self._store.read_run, "so it is not known whether the run has begun")
        if found is None:
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
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
                self._thread.start()

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
        self._say(MirrorFailed(reason=_words(error)))
        return None

    def finish(self) -> None:
        """Wait for what is under way, then bring the rest of the journal."""
        self.wait()
        if self._has_claimed and self._reason_to_stop is None:
            sizes = self._sizes()
            error = self._calls.submit(lambda: self._upload_journal(sizes)).exception()
            if error is not None:
                self._say(MirrorFailed(reason=_words(error)))
        self._calls.shutdown()

    def _sizes(self) -> dict[Path, int]:
        return {path: path.stat().st_size for path in journal.files(self._home, "rank0")}

    def _insist(self, work: Callable[[], T], else_: str) -> T:
        called = self._calls.submit(work)
        error = called.exception()
        if isinstance(error, CheckpointError):
            raise error
        if error is not None:
            raise CheckpointError(
                f"{self.url} cannot be read ({_words(error)}), {else_}. Mend the way to it and "
                "start again; or write mirror=None to begin without."
            ) from error
        return called.result()

    def _work(self) -> None:
        """The thread: until nothing waits."""
        while True:
            with self._changed:
                self._job, self._waiting = self._waiting, None
                job = self._job
                if job is None:
                    self._thread = None
                    self._changed.notify_all()
                    return
            self._say(self._copy_up(job))

    def _say(self, event: CheckpointMirrored | MirrorFailed) -> None:
        with self._changed:
            self._events.append(event)

    def _copy_up(self, job: _Job) -> CheckpointMirrored | MirrorFailed:
        began = time.monotonic()
        error: BaseException | None = None
        for number in range(TRIES):
            if number:
                self._wait(FIRST_WAIT_SECONDS * 2 ** (number - 1))
            called = self._calls.submit(lambda: self._upload(job))
            error = called.exception()
            if error is None:
                return CheckpointMirrored(
                    attempt=job.saved.attempt,
                    step=job.saved.step,
                    path=f"{self.url.rstrip('/')}/{job.saved.path}",
                    bytes=called.result(),
                    seconds=time.monotonic() - began,
                )
            if isinstance(error, CheckpointError):
                break  # no other try would go better
        assert error is not None
        reason = _words(error)
        if not isinstance(error, CheckpointError):
            reason = f"{reason}, {TRIES} times in a row; it is tried again with the next checkpoint"
        return MirrorFailed(step=job.saved.step, reason=reason)

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
                body = self._store.read_stretch(name, begin, end, digest)
                is_damaged = begin != len(whole) or xxhash.xxh3_128_hexdigest(body) != digest
                if is_damaged:
                    break
                whole += body
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


def _words(error: BaseException) -> str:
    return str(error) if isinstance(error, CheckpointError) else f"{type(error).__name__}: {error}"
