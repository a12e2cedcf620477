"""The skip list: corrupt documents that a data order should leave out, as JSON Lines.

`steadytrain lint PATH... --out FOLDER` writes FOLDER/skips.jsonl, a line per corrupt document:

    {"source":"a.jsonl","document":"zh-7","number":17,"offsets":[[0,80]],"class":"blank",...}

A data order asks `SkipList.excludes(source, document)`, or turns the list into draws for the feed:

    left_out = draws_left_out(SkipList.load("lint/"), places)
    feed = Feed(order, batch_size=32, left_out=left_out)
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from steadytrain.corpora.documents import DocumentId
from steadytrain.errors import FeedError
from steadytrain.ranges import Ranges, merge

SKIPS = "skips.jsonl"
PROGRESS = "progress.json"


class Skip(msgspec.Struct, frozen=True, kw_only=True):
    """One document to leave out.

    Attributes:
        source: its file, as written on the command line of the lint.
        document: its id, or its number where it has none, or None: the whole file.
        number: which of the file: a line from 1; a row, sample or document from 0.
        offsets: where the damage shows. [characters of the document]
        excerpt: what stands there.
    """

    source: str
    document: DocumentId
    number: int | None
    domain: str | None = None
    kind: str | None = msgspec.field(name="class", default=None)
    confidence: float = 1.0
    offsets: tuple[tuple[int, int], ...] = ()
    evidence: str = ""
    excerpt: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a data order put a document, or a part of one.

    Attributes:
        first, end: its draws, end excluded.
        begin, stop: the part's characters; None: all of the document.
    """

    first: int
    end: int
    source: str
    document: DocumentId = None
    begin: int | None = None
    stop: int | None = None


@dataclass(frozen=True, slots=True)
class SkipList:
    """What to leave out, asked by source and document.

    >>> skips = SkipList.of([Skip(source="a.jsonl", document="zh-7", number=17)])
    >>> skips.excludes("a.jsonl", "zh-7"), skips.excludes("a.jsonl", "zh-8")
    (True, False)
    """

    _found: dict[str, dict[str | None, list[tuple[int, int]]]] = field(default_factory=dict)
    _numbers: dict[str, set[int]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, skips: Iterable[Skip], *, renamed: Callable[[str], str] | None = None
    ) -> "SkipList":
        """From entries. `renamed`: the list's name of a file -> the data order's name of it."""
        made = cls()
        for skip in skips:
            source = renamed(skip.source) if renamed else skip.source
            spans = made._found.setdefault(source, {}).setdefault(_key(skip.document), [])
            spans += skip.offsets
            if skip.number is not None:
                made._numbers.setdefault(source, set()).add(skip.number)
        return made

    @classmethod
    def load(cls, path: str | Path, *, renamed: Callable[[str], str] | None = None) -> "SkipList":
        """From a skips.jsonl, or the folder that a lint wrote.

        Raises:
            FeedError: it is not there, is torn, or its lint has not ended: a list that still grows
                would give a restarted run other data.
        """
        file = Path(path) / SKIPS if Path(path).is_dir() else Path(path)
        beside = file.with_name(PROGRESS)
        try:
            if beside.exists() and not msgspec.json.decode(beside.read_bytes()).get("done"):
                raise FeedError(
                    f"the lint that writes {file} has not ended, so the list may still grow and a "
                    f"restart would see other data. Run the same `steadytrain lint` again first."
                )
            with open(file, "rb") as lines:
                return cls.of(_entries(file, lines), renamed=renamed)
        except OSError as e:
            raise FeedError(
                f"{file} cannot be read ({e.strerror}), so nothing would be left out. "
                f"Write the folder that `steadytrain lint --out` wrote."
            ) from e

    def __len__(self) -> int:
        return sum(map(len, self._found.values()))

    def excludes(
        self,
        source: str,
        document: DocumentId = None,
        *,
        begin: int | None = None,
        stop: int | None = None,
    ) -> bool:
        """Whether to leave out a document, or of it the characters from `begin` to `stop`.

        A file that is a document as a whole excludes whatever is said to come from it. Ids are
        compared as they print: 7 and "7" are one.
        """
        documents = self._found.get(source)
        if documents is None:
            return False
        for key in {None, _key(document)} & documents.keys():
            spans = documents[key]
            if begin is None or stop is None or not spans:
                return True
            if any(low < stop and begin < high for low, high in spans):
                return True
        return False

    def numbers(self, source: str) -> tuple[int, ...]:
        """Which lines (from 1), rows, samples or documents (from 0) of a file to leave out."""
        return tuple(sorted(self._numbers.get(source, ())))


def draws_left_out(skips: SkipList, places: Iterable[Place]) -> Ranges:
    """The draws that a feed should leave out, given where its data order put the documents.

    Equal lists and places give equal draws: pass the same to every attempt of a run.
    """
    return merge(
        (place.first, place.end)
        for place in places
        if skips.excludes(place.source, place.document, begin=place.begin, stop=place.stop)
    )


def _key(document: DocumentId) -> str | None:
    return None if document is None else str(document)


def _entries(file: Path, lines: Iterable[bytes]) -> Iterable[Skip]:
    decoder = msgspec.json.Decoder(Skip)
    for number, line in enumerate(lines, 1):
        try:
            yield decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as e:
            raise FeedError(
                f"{file} line {number} is no entry of a skip list ({e}), so a document might be "
                f"trained on that should not. Run the lint again, with the same --out."
            ) from e
