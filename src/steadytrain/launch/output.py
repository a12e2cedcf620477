"""What the ranks print: passed on, kept in logs/, and searched for the last words of a dead rank.

Ranks write into pipes, not files: a full disk must not make a `print` fail in the training process.
"""

import os
import re
import select
import selectors
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from steadytrain.sayings import say as translate

FOLDER = "logs"

TAIL_BYTES = 2**14
"""Of standard error, kept per rank for its last words; a long traceback has 5 kB."""

MAX_WORDS = 500
"""Characters of an error kept in the journal; longer messages repeat themselves."""

_RANK_PREFIX = re.compile(r"^\[rank\d+\]: ?")  # torch.distributed's excepthook puts it there
_MODULE = re.compile(r"^(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_]\w*(?::|$))")
_TRACEBACK = "Traceback (most recent call last):"


@dataclass(kw_only=True, slots=True)
class _Stream:
    """One pipe: where it comes from, where it goes, what was not a whole line yet."""

    rank: int
    target: int
    log: FileIO | None
    rest: bytes = b""


class Output:
    """The pipes of one start of all ranks.

    A thread reads them, so a supervisor that is busy never holds up a `print`; and whoever reads
    the supervisor's own output never holds up the thread for more than a second.

    Args:
        ranks: those of this host.
        is_alone: there is no other rank, so lines need no mark of whose they are.

    Attributes:
        write_ends: (stdout, stderr) of each rank, as paths that can be opened until `seal`.
    """

    def __init__(
        self, home: Path, generation: int, *, ranks: Sequence[int], is_alone: bool
    ) -> None:
        self.write_ends: dict[int, tuple[str, str]] = {}
        self._has_prefix = not is_alone
        self._tails = dict.fromkeys(ranks, b"")
        self._last_said = dict.fromkeys(ranks, 0.0)
        self._selector = selectors.DefaultSelector()
        self._to_seal: list[int] = []
        self._logs: list[FileIO] = []
        self._lock = threading.Lock()
        self._patience_seconds = 1.0
        self._is_closed = False
        folder = Path(home) / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        for rank in ranks:
            log = FileIO(folder / f"rank{rank}.{generation}.log", "ab")
            self._logs.append(log)
            self.write_ends[rank] = (
                self._open(_Stream(rank=rank, target=1, log=log)),
                self._open(_Stream(rank=rank, target=2, log=log)),
            )
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def seal(self) -> None:
        """Close this process's write ends, so that a pipe ends when its rank does."""
        for descriptor in self._to_seal:
            os.close(descriptor)
        self._to_seal = []

    def last_words(self, rank: int) -> str | None:
        """The error that a dead rank printed last."""
        self._pump()
        return find_error(self._tails[rank].decode(errors="replace"))

    def last_said(self, rank: int) -> float:
        """When a rank last wrote to standard error; 0 if never. [CLOCK_MONOTONIC]"""
        self._pump()
        return self._last_said[rank]

    def close(self) -> None:
        """Pass on what is left."""
        self.seal()
        self._pump()
        self._is_closed = True
        self._thread.join(timeout=2.0)
        with self._lock:
            for key in list(self._selector.get_map().values()):
                self._end(key.fd, key.data)
            self._selector.close()
        for log in self._logs:
            log.close()

    def _open(self, stream: _Stream) -> str:
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        self._selector.register(read_end, selectors.EVENT_READ, stream)
        self._to_seal.append(write_end)
        return f"/dev/fd/{write_end}"

    def _follow(self) -> None:
        while not self._is_closed and self._selector.get_map():
            self._selector.select(timeout=0.1)
            self._pump()

    def _pump(self) -> None:
        with self._lock:
            for key in list(self._selector.get_map().values()):
                while (block := _read(key.fd)) is not None:
                    if not block:
                        self._end(key.fd, key.data)
                        break
                    self._take(key.data, block)

    def _take(self, stream: _Stream, block: bytes) -> None:
        if stream.target == 2:
            self._tails[stream.rank] = (self._tails[stream.rank] + block)[-TAIL_BYTES:]
            self._last_said[stream.rank] = time.monotonic()
        if stream.log is not None:
            try:
                stream.log.write(block)
            except OSError as error:
                stream.log = None
                say(f"the log of rank {stream.rank} ends here: {error.strerror}")
        if self._has_prefix:
            block = _prefix_lines(stream, block)
        self._pass_on(stream.target, block)

    def _pass_on(self, target: int, block: bytes) -> None:
        for start in range(0, len(block), select.PIPE_BUF):
            # Ready means that PIPE_BUF bytes fit. What does not fit in time is in the log.
            _, ready, _ = select.select([], [target], [], self._patience_seconds)
            self._patience_seconds = 1.0 if ready else 0.0
            if not ready:
                return
            try:
                os.write(target, block[start : start + select.PIPE_BUF])
            except OSError:  # nobody reads any more; the log goes on
                return

    def _end(self, read_end: int, stream: _Stream) -> None:
        self._selector.unregister(read_end)
        os.close(read_end)
        if stream.rest:
            self._pass_on(stream.target, _prefix(stream.rank) + stream.rest + b"\n")
            stream.rest = b""


def find_error(text: str) -> str | None:
    """`Error: message` of the last traceback, without its module; the last line if there is none.

    >>> find_error('Traceback (most recent call last):\\n  File "a"\\nlib.TooBad: why\\nbye')
    'TooBad: why'
    """
    lines = [_RANK_PREFIX.sub("", line) for line in text.splitlines()]
    start = max((at for at, line in enumerate(lines) if line == _TRACEBACK), default=None)
    fatal = [line for line in lines if line.startswith("Fatal Python error: ")]
    if fatal:
        return fatal[-1][:MAX_WORDS]  # faulthandler's; the stacks follow it
    if start is None:
        found = [line.strip() for line in reversed(lines) if any(map(str.isalnum, line))]
    else:
        found = [line for line in lines[start + 1 :] if line and not line[0].isspace()]
    return _MODULE.sub("", found[0])[:MAX_WORDS] if found else None


def _read(read_end: int) -> bytes | None:
    """A block; empty at the end of the pipe, None when there is nothing now."""
    try:
        return os.read(read_end, 2**16)
    except BlockingIOError:
        return None


def _prefix_lines(stream: _Stream, block: bytes) -> bytes:
    # A progress bar redraws its line with a carriage return: that ends a line here too.
    text = stream.rest + block
    end = max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
    stream.rest = text[end:]
    lines = re.split(rb"(?<=[\n\r])(?!\n)", text[:end])
    return b"".join(_prefix(stream.rank) + line for line in lines if line)


def _prefix(rank: int) -> bytes:
    return b"[rank%d] " % rank


def say(text: str) -> None:
    """A line of the supervisor's own; its language is that of the environment, as `run` set it."""
    lang = os.environ.get("STEADYTRAIN_LANG", "en")
    print(f"steadytrain: {translate(text, lang)}", file=sys.stderr, flush=True)
