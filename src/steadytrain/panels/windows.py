"""Windows of documents for a panel: which documents, where in them, and how many bytes they hold.

Everything follows from keyed hashes of the text, so neither the order of the documents nor the
machine matters.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from steadytrain.corpora.documents import Document, Trouble
from steadytrain.errors import PanelError, SettingError
from steadytrain.text.shingles import folded, shingles

Given = Document | Trouble | tuple[str, str] | tuple[str, str, str]
"""A document as a reader of `corpora/` gives it, or (domain, text), or with its source."""

Encode = Callable[[str], Sequence[int]]

SAMPLED = 1 << 16
"""Characters whose tokens say how long a longer document is."""

ALIKE = 0.5
"""A window is drawn before when so many of its shingles were. Source: guess."""

SNAP = 200
"""A window begins with a line or a word, if one begins so few characters before. Source: guess."""

BITS = 24
"""Of the table of shingles seen: 200 windows of 4 KB fill 1 % of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A document that may be drawn; `key` says when, `document` is a hash of its text."""

    key: bytes
    document: str
    text: str
    source: str


@dataclass(kw_only=True, slots=True)
class Pool:
    """The documents of a domain with the smallest keys.

    Attributes:
        documents, bytes: of all that were given; `lost` could not be read.
    """

    candidates: list[Candidate] = field(default_factory=list)
    documents: int = 0
    bytes: int = 0
    lost: int = 0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Window:
    """A piece of a document as tokens; `num_bytes` of the text that they predict."""

    tokens: NDArray[np.int64]
    num_bytes: int
    text: str
    source: str
    document: str


def gather(
    documents: Iterable[Given],
    *,
    domains: Sequence[str],
    seed: int,
    encode: Encode,
    keep: int,
    shortest: int,
) -> dict[str, Pool]:
    """The `keep` documents of each domain that are to be tried first, in one pass."""
    pools = {name: Pool() for name in domains}
    kept: dict[str, dict[bytes, Candidate]] = {name: {} for name in domains}
    limit = dict.fromkeys(domains, b"\xff" * 16)
    for given in documents:
        if isinstance(given, Trouble):
            for pool in pools.values() if given.level == "lost" else ():
                pool.lost += 1
            continue
        name, text, source = _parts(given)
        domain = _nearest(name, pools)
        if domain is None or not text:
            continue
        raw = text.encode("utf-8", "replace")
        pools[domain].documents += 1
        pools[domain].bytes += len(raw)
        # The key of a text is the same in every domain: of a text in two, both hold it or neither.
        key = blake2b(raw, key=b"%d" % seed, digest_size=16).digest()
        mine = kept[domain]
        if key > limit[domain]:
            continue
        if key in mine:
            if source < mine[key].source:
                mine[key] = Candidate(
                    key=key, document=mine[key].document, text=text, source=source
                )
            continue
        if len(raw) < shortest or len(encode(text[: 16 * shortest + 16])) < shortest:
            continue
        document = blake2b(raw, digest_size=8).hexdigest()
        mine[key] = Candidate(key=key, document=document, text=text, source=source)
        if len(mine) > 2 * keep:
            first = sorted(mine)[:keep]
            kept[domain] = {one: mine[one] for one in first}
            limit[domain] = first[-1]
    for name, pool in pools.items():
        pool.candidates = [kept[name][key] for key in sorted(kept[name])[:keep]]
    return pools


def cut(
    pool: Pool, wanted: int, *, encode: Encode, window: int, begin: int | None, shortest: int
) -> list[Window]:
    """Windows of a pool, one of each document first; fewer than wanted if there is no more."""
    seen = np.zeros(1 << BITS, bool)
    found: list[Window] = []
    room = window if begin is not None else window + 1
    places: dict[int, list[int]] = {}
    for turn in itertools.count():
        left = 0
        for number, candidate in enumerate(pool.candidates):
            if len(found) == wanted:
                return found
            starts = places.get(number) or _places(candidate, encode, room)
            places[number] = starts
            left += turn + 1 < len(starts)
            if turn >= len(starts):
                continue
            text = _fitting(candidate.text[starts[turn] :], encode, room)
            marks = (shingles(folded(text))[::4] >> np.uint64(64 - BITS)).astype(np.int64)
            if len(marks) and seen[marks].mean() >= ALIKE:
                continue
            made = _window(candidate, text, encode=encode, begin=begin)
            if made is not None and len(made.tokens) > shortest:
                seen[marks] = True
                found.append(made)
        if not left:
            break
    return found


def divide(
    total: int, shares: Mapping[str, float], names: Sequence[str], *, floor: int
) -> dict[str, int]:
    """A number of sequences divided in proportion, with a floor for each, by largest remainder.

    Raises:
        SettingError: the shares are not those of the domains.

    >>> divide(100, {"zh": 90, "en": 8, "code": 2}, ["zh", "en", "code"], floor=20)
    {'zh': 60, 'en': 20, 'code': 20}
    """
    whole = math.fsum(shares.values())
    if set(shares) != set(names) or min(shares.values()) < 0 or not 0 < whole < math.inf:
        raise SettingError(
            f"shares={dict(shares)} do not divide a panel among {', '.join(names)}. Write one "
            "finite share, 0 or more, for each of them."
        )
    raised: set[str] = set()
    while True:
        free = [name for name in names if name not in raised]
        left = total - floor * len(raised)
        part = math.fsum(shares[name] for name in free)
        low = [name for name in free if not part or left * shares[name] / part < floor]
        if not low or len(low) == len(free):
            break
        raised.update(low)
    quota = {name: left * shares[name] / part if part else left / len(free) for name in free}
    sizes = {name: floor if name in raised else math.floor(quota[name]) for name in names}
    rest = sorted(free, key=lambda name: sizes[name] - quota[name])
    for name in rest[: total - sum(sizes.values())]:
        sizes[name] += 1
    return sizes


def _parts(given: Document | tuple[str, str] | tuple[str, str, str]) -> tuple[str, str, str]:
    if isinstance(given, Document):
        if given.text is None:
            raise PanelError(
                f"{given.source} holds token ids and no text, so a window of it has no bytes. "
                "Decode it first, or give its text."
            )
        return given.domain or "", given.text, given.source
    name, text, *source = given
    return name, text, source[0] if source else ""


def _nearest(name: str, domains: Iterable[str]) -> str | None:
    """The domain itself or the nearest one above it; the only one, for a text that names none."""
    known = set(domains)
    if not name:
        return next(iter(known)) if len(known) == 1 else None
    while name not in known:
        name, mark, _ = name.rpartition("/")
        if not mark:
            return None
    return name


def _places(candidate: Candidate, encode: Encode, room: int) -> list[int]:
    """Where windows of a document begin [characters], in the order in which they are drawn."""
    text = candidate.text
    sample = text[:SAMPLED]
    tokens = len(encode(sample)) * len(text) / max(1, len(sample))
    slots = max(1, int(tokens // room))
    size = len(text) / slots
    order = sorted(range(slots), key=lambda slot: _keyed(candidate.key, slot))
    reach = min(SNAP, int(size / 4))
    return [_snapped(text, int(slot * size), reach) for slot in order]


def _keyed(key: bytes, slot: int) -> bytes:
    return blake2b(b"%d" % slot, key=key, digest_size=8).digest()


def _snapped(text: str, at: int, reach: int) -> int:
    """Where the line begins that stands there, else the word, else the place itself."""
    before = text[max(0, at - reach) : at]
    for mark in ("\n", " "):
        if mark in before:
            return at - len(before) + before.rindex(mark) + 1
    return at


def _fitting(text: str, encode: Encode, room: int) -> str:
    """The longest beginning of a text of at most `room` tokens, by bisection."""
    low, high = 0, min(len(text), 32 * room)
    if len(encode(text[:high])) <= room:
        return text[:high]
    while high - low > 1:
        middle = (low + high) // 2
        if len(encode(text[:middle])) <= room:
            low = middle
        else:
            high = middle
    return text[:low]


def _window(candidate: Candidate, text: str, *, encode: Encode, begin: int | None) -> Window | None:
    ids = list(encode(text))
    if not ids:
        return None
    num_bytes = len(text.encode("utf-8", "replace"))
    if begin is None:
        num_bytes -= _first_bytes(text, ids, encode)
    else:
        ids = [begin, *ids]
    return Window(
        tokens=np.array(ids, np.int64), num_bytes=num_bytes, text=text,
        source=candidate.source, document=candidate.document,
    )  # fmt: skip


def _first_bytes(text: str, ids: Sequence[int], encode: Encode) -> int:
    """Bytes of the first token's text: of the beginning that gives this token and no other.

    Where none does, as in the middle of a character, the mean of the window's tokens: a byte or two
    of thousands.
    """
    for end in range(1, min(len(text), 64) + 1):
        if list(encode(text[:end])) == list(ids[:1]):
            return len(text[:end].encode("utf-8", "replace"))
    return round(len(text.encode("utf-8", "replace")) / len(ids))
