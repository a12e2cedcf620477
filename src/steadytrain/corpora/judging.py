"""Pieces of a corpus -> verdict lines, here or in worker processes, always in the input's order."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.connection import wait

import msgspec

from steadytrain.corpora.documents import Document, Piece, Trouble, lost
from steadytrain.corpora.inputs import Input, read
from steadytrain.corpora.skips import Skip
from steadytrain.corpora.tally import EXCERPT, Line, Tally
from steadytrain.corpora.tokens import Tokenizer, ids_of, load_tokenizer
from steadytrain.errors import CorpusError
from steadytrain.text import lint

CHUNK_CHARACTERS = 1 << 18
CHUNK_PIECES = 1024
"""A chunk ends at either; guess: a tenth of a second of work, so that a bar moves."""

AHEAD = 3  # chunks in the making per worker: one at work, one waiting, one coming


@dataclass(frozen=True, slots=True)
class Position:
    """How far a corpus has been read: `pieces` of file `input` (which of the list, from 0)."""

    input: int = 0
    pieces: int = 0


@dataclass(slots=True)
class Chunk:
    """Pieces that follow each other, where they end, and how many bytes lie before that."""

    pieces: list[Piece] = field(default_factory=list)
    end: Position = field(default_factory=Position)
    num_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of a chunk: lines for the files, counts for the report."""

    verdicts: bytes
    skips: bytes
    unread: bytes
    troubles: tuple[Trouble, ...]
    tally: Tally


@dataclass(frozen=True, slots=True)
class Judging:
    """The work on one chunk. `domain` holds where a record does not say its own."""

    domain: str | None
    tokenizer: Tokenizer | None

    def judge(self, pieces: Sequence[Piece]) -> Judged:
        encoder = msgspec.json.Encoder()
        verdicts: list[bytes] = []
        skips: list[bytes] = []
        unread: list[bytes] = []
        troubles: list[Trouble] = []
        tally = Tally()
        for piece in pieces:
            text = self._text(piece) if isinstance(piece, Document) else piece
            if isinstance(text, Trouble):
                tally.note(text)
                troubles.append(text)
                if text.level != "passed":
                    plain = {"source": text.source, "level": text.level, "why": text.why}
                    unread.append(encoder.encode(plain))
                continue
            assert isinstance(piece, Document)
            line = self._line(piece, text)
            verdicts.append(encoder.encode(line))
            excerpt = ""
            if line.verdict == "corrupt":
                begin = line.offsets[0][0] if line.offsets else 0
                excerpt = text[begin : begin + EXCERPT]
                skips.append(encoder.encode(_skip(piece, line, excerpt)))
            tally.count(_place(piece), line, characters=len(text), excerpt=excerpt)
        return Judged(_joined(verdicts), _joined(skips), _joined(unread), tuple(troubles), tally)

    def _line(self, document: Document, text: str) -> Line:
        domain = document.domain if document.domain is not None else self.domain
        found = lint(text, domain=domain)
        return Line(
            id=document.id,
            source=document.source,
            domain=domain,
            verdict=found.verdict,
            kind=found.kind,
            confidence=float(found.confidence),
            offsets=tuple((int(begin), int(end)) for begin, end in found.offsets),
            evidence=_encodable(found.evidence),
        )

    def _text(self, document: Document) -> str | Trouble:
        if document.text is not None:
            return document.text
        assert self.tokenizer is not None  # `inputs.read` asked
        ids = document.tokens
        if isinstance(ids, bytes):
            ids = ids_of(ids, self.tokenizer.vocabulary)
        if ids is None:
            return lost(
                document.file,
                "holds bytes that are no ids of this tokenizer at any width, so it was not "
                "linted. Write --tokenizer with the one that it was made with.",
                number=document.number,
                at=document.at,
            )
        return self.tokenizer.decode(ids)


def chunks(
    inputs: Sequence[Input], *, begin: Position, column: str, can_decode: bool
) -> Iterator[Chunk]:
    """The corpus in pieces of work, from a position on; what lies before it is read past."""
    before = sum(one.size or 0 for one in inputs[: begin.input])
    chunk, characters = Chunk(), 0
    for index in range(begin.input, len(inputs)):
        past = begin.pieces if index == begin.input else 0
        one = inputs[index]
        for number, piece in enumerate(read(one, column=column, can_decode=can_decode), 1):
            if number <= past:
                continue
            chunk.pieces.append(piece)
            chunk.end = Position(index, number)
            chunk.num_bytes = before + piece.at
            characters += piece.weight if isinstance(piece, Document) else 0
            if characters >= CHUNK_CHARACTERS or len(chunk.pieces) >= CHUNK_PIECES:
                yield chunk
                chunk, characters = Chunk(), 0
        before += one.size or 0
    if chunk.pieces:
        yield chunk


def judged_here(
    work: Iterable[Chunk], *, domain: str | None, tokenizer: str | None
) -> Iterator[tuple[Chunk, Judged]]:
    """Chunk after chunk, in this process."""
    judging = _judging(domain, tokenizer)
    for chunk in work:
        yield chunk, judging.judge(chunk.pieces)


def judged_by_workers(
    work: Iterable[Chunk], *, domain: str | None, tokenizer: str | None, workers: int
) -> Iterator[tuple[Chunk, Judged]]:
    """The same, by processes; a few chunks a worker are in memory at once.

    Raises:
        CorpusError: a worker was killed.
    """
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),  # a fork would copy held locks
        initializer=_begin,
        initargs=(domain, tokenizer),
    )
    waiting: deque[tuple[Chunk, Future[Judged]]] = deque()
    try:
        for chunk in work:
            waiting.append((chunk, pool.submit(_judge, chunk.pieces)))
            chunk.pieces = []
            if len(waiting) >= AHEAD * workers:
                done, result = waiting.popleft()
                yield done, result.result()
        while waiting:
            done, result = waiting.popleft()
            yield done, result.result()
    except BrokenProcessPool as e:
        raise CorpusError(
            "a worker process was killed, by the system if memory ran out; the documents behind it "
            "were not linted. Run it again with the same --out to go on, or with fewer --workers."
        ) from e
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _judging(domain: str | None, tokenizer: str | None) -> Judging:
    return Judging(domain, load_tokenizer(tokenizer) if tokenizer else None)


_own: list[Judging] = []  # of a worker process: filled once, when it begins


def _begin(domain: str | None, tokenizer: str | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _own[:] = [_judging(domain, tokenizer)]


def _judge(pieces: list[Piece]) -> Judged:
    return _own[0].judge(pieces)


def _end_with_parent() -> None:
    """A pool's workers outlive a parent that is killed; these do not."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _place(document: Document) -> str:
    """What a document is counted under: its file, or the folder of a file that is one document."""
    if document.number is not None:
        return document.file
    return f"{document.file.rpartition('/')[0] or '.'}/"


def _skip(document: Document, line: Line, excerpt: str) -> Skip:
    return Skip(
        source=document.file,
        document=document.id,
        number=document.number,
        domain=line.domain,
        kind=line.kind,
        confidence=line.confidence,
        offsets=line.offsets,
        evidence=line.evidence,
        excerpt=excerpt,
    )


def _encodable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _joined(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)
