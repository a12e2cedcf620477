"""`steadytrain lint`: read a corpus, judge every document, report, and go on after a kill."""

import hashlib
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from steadytrain import __version__
from steadytrain.corpora.documents import Trouble
from steadytrain.corpora.inputs import find
from steadytrain.corpora.judging import (
    Chunk,
    Judged,
    Position,
    chunks,
    judged_by_workers,
    judged_here,
)
from steadytrain.corpora.ledger import Ledger
from steadytrain.corpora.skips import SKIPS
from steadytrain.corpora.tally import Tally, visible
from steadytrain.corpora.tokens import BYTES, load_tokenizer
from steadytrain.errors import SettingError
from steadytrain.sayings import say

SHOWN_TROUBLES = 3  # of one file and level; the rest is counted
BAR = 24  # characters
BAR_EVERY = 0.2  # seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What the command line asked for; see `steadytrain lint --help`."""

    paths: tuple[str, ...]
    domain: str | None = None
    column: str = "text"
    tokenizer: str | None = None
    workers: int = 1
    out: Path | None = None
    as_json: bool = False
    lang: str = "en"


def run(settings: Settings) -> int:
    """Lint; returns 0: all clean, 1: something is corrupt, 2: something could not be read.

    Raises:
        SettingError: no workers, or no tokenizer where one was named.
        CorpusError: the folder of an earlier lint does not fit, or a worker was killed.
    """
    if settings.workers < 1:
        raise SettingError(
            f"--workers {settings.workers} would lint nothing. Write 1 for this process alone, or "
            f"as many as there are cores."
        )
    if settings.tokenizer is not None:
        load_tokenizer(settings.tokenizer)  # refuse before hours of reading, not after
    inputs = find(settings.paths)
    ledger = None
    if settings.out is not None:
        ledger = Ledger.open(settings.out, _stamp(settings), inputs)
    tally = ledger.progress.tally if ledger is not None else Tally()
    begin = ledger.position if ledger is not None else Position()
    is_done = ledger is not None and ledger.progress.done
    screen = _Screen(sys.stderr, total=sum(one.size or 0 for one in inputs))
    try:
        if is_done:
            done = f"{settings.out} is complete; nothing is left to lint"
            screen.say(say(done, settings.lang))
        elif begin != Position():
            further = f"going on in {settings.out} after {tally.documents} documents"
            screen.say(say(further, settings.lang))
        work = () if is_done else chunks(
            inputs,
            begin=begin,
            column=settings.column,
            can_decode=settings.tokenizer is not None,
        )  # fmt: skip
        for chunk, judged in _judged(work, settings):
            if ledger is not None:
                ledger.add(judged, chunk.end)
            else:
                tally.merge(judged.tally)
            if settings.as_json:
                sys.stdout.flush()
                sys.stdout.buffer.write(judged.verdicts)
                sys.stdout.buffer.flush()
            screen.show(chunk, judged, tally)
        if ledger is not None:
            ledger.progress.done = True
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        if ledger is not None:
            ledger.save()
            ledger.close()
        screen.end()
    if not settings.as_json:
        print(tally.report(settings.lang))
        if settings.out is not None:
            where = f"verdicts and the skip list ({SKIPS}) are in {settings.out}"
            print(say(where, settings.lang))
    if tally.lost:
        return 2
    return 1 if tally.corrupt else 0


def _judged(work: Any, settings: Settings) -> Iterator[tuple[Chunk, Judged]]:
    if settings.workers == 1:
        return judged_here(work, domain=settings.domain, tokenizer=settings.tokenizer)
    return judged_by_workers(
        work,
        domain=settings.domain,
        tokenizer=settings.tokenizer,
        workers=settings.workers,
    )


def _stamp(settings: Settings) -> dict[str, Any]:
    """What decides the verdicts, beside the inputs."""
    tokenizer = settings.tokenizer
    if tokenizer is not None and tokenizer != BYTES:
        path = Path(tokenizer).expanduser()
        content = (path / "tokenizer.json" if path.is_dir() else path).read_bytes()
        tokenizer = hashlib.blake2b(content, digest_size=16).hexdigest()
    return {
        "steadytrain": __version__,
        "--domain": settings.domain,
        "--column": settings.column,
        "--tokenizer": tokenizer,
    }


@dataclass(slots=True)
class _Screen:
    """Standard error: troubles as they come, and on a terminal a bar below them."""

    file: TextIO
    total: int
    _seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    _began: float = field(default_factory=time.monotonic)
    _drawn: float = 0.0
    _first_byte: int | None = None

    def say(self, words: str) -> None:
        self._wipe()
        print(f"steadytrain: {words}", file=self.file)

    def show(self, chunk: Chunk, judged: Judged, tally: Tally) -> None:
        for trouble in judged.troubles:
            if trouble.level != "passed":
                self._tell(trouble)
        if self._first_byte is None:
            self._first_byte = chunk.num_bytes
        now = time.monotonic()
        if self.file.isatty() and now - self._drawn >= BAR_EVERY:
            self._drawn = now
            self._draw(chunk.num_bytes, tally, now - self._began)

    def end(self) -> None:
        self._wipe()
        for (file, level), count in self._seen.items():
            if count > SHOWN_TROUBLES:
                more = "parts not read" if level == "lost" else "remarks"
                self.say(f"{visible(file)}: {count - SHOWN_TROUBLES} more {more} like these")

    def _tell(self, trouble: Trouble) -> None:
        key = (trouble.file, trouble.level)
        self._seen[key] += 1
        if self._seen[key] <= SHOWN_TROUBLES:
            left_out = "left out: " if trouble.level == "lost" else ""
            self.say(f"{left_out}{visible(trouble.source)} {visible(trouble.why)}")

    def _draw(self, done: int, tally: Tally, seconds: float) -> None:
        share = min(done / max(self.total, 1), 1.0)
        filled = int(share * BAR)
        rate = (done - (self._first_byte or 0)) / max(seconds, 1e-9)
        left = f"{_clock((self.total - done) / rate)} left" if rate > 0 else "..."
        line = (
            f"[{'#' * filled}{'.' * (BAR - filled)}] {share:4.0%}  {rate / 1e6:.1f} MB/s  {left}  "
            f"{tally.documents} documents, {tally.corrupt} corrupt"
        )
        self._wipe()
        self.file.write(line[: os.get_terminal_size(self.file.fileno()).columns - 1])
        self.file.flush()

    def _wipe(self) -> None:
        if self.file.isatty():
            self.file.write("\r\x1b[K")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
