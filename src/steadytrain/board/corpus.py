"""What the text of a run is worth: defects by domain, worst sources, what is left out, lints."""

import os
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from steadytrain import provenance
from steadytrain.actions import SkipDraws
from steadytrain.board.watched import Watched
from steadytrain.corpora.ledger import Progress
from steadytrain.corpora.skips import PROGRESS
from steadytrain.events import BatchExamined, Remedy
from steadytrain.phrases import phrase
from steadytrain.ranges import size
from steadytrain.sayings import say

ROWS_AT_ONCE = 1 << 20
MOST_SOURCES = 40
MOST_LINTS = 50
DEEPEST = 3
MOST_BYTES = 16 << 20


@dataclass(slots=True)
class Counts:
    """Sequences by domain and defect, from the provenance files; what was counted stays counted."""

    table: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((0, len(provenance.DEFECTS)), dtype=np.int64)
    )
    rows: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def catch_up(self, home: Path) -> None:
        with self.lock:
            for path in sorted((home / provenance.FOLDER).glob("rank*.bin")):
                self._read(path)

    def _read(self, path: Path) -> None:
        done = self.rows.get(path.name, 0)
        whole = path.stat().st_size // provenance.RECORD.itemsize
        while done < whole:
            count = min(ROWS_AT_ONCE, whole - done)
            rows = np.fromfile(
                path,
                dtype=provenance.RECORD,
                count=count,
                offset=done * provenance.RECORD.itemsize,
            )
            width = len(provenance.DEFECTS)
            domains = rows["domain"].astype(np.int64)
            defects = np.minimum(rows["defect"], width - 1)
            tally = np.bincount(domains * width + defects)
            num = -(-len(tally) // width)
            tally = np.pad(tally, (0, num * width - len(tally))).reshape(num, width)
            if num > len(self.table):
                self.table = np.pad(self.table, ((0, num - len(self.table)), (0, 0)))
            self.table[:num] += tally
            done += len(rows)
            self.rows[path.name] = done


def corpus(one: Watched, counts: Counts, lang: str) -> dict[str, Any]:
    """The data page of a run; `counts` has been caught up."""
    table = counts.table
    names = one.track.domains
    sums = one.track.tokens_by_domain
    tokens = sums[:, -1] if sums.shape[1] else np.zeros(len(names))
    whole = float(tokens.sum())
    domains = [
        {
            "name": name,
            "tokens": float(tokens[at]),
            "share": float(tokens[at]) / whole if whole else 0.0,
            "sequences": int(table[at].sum()) if at < len(table) else None,
            "corrupt": int(table[at, 1:].sum()) if at < len(table) else None,
            "defects": {
                phrase(kind, lang): int(table[at, number])
                for number, kind in enumerate(provenance.DEFECTS)
                if kind and at < len(table) and table[at, number]
            },
        }
        for at, name in enumerate(names)
    ]
    corrupt = one.track.number("corrupt")
    return {
        "domains": domains,
        "has_ledger": bool(len(table)),
        "steps_with_corrupt": int((corrupt > 0).sum()),
        "corrupt_by_step": _by_step(one),
        "sources": _sources(one, lang),
        "left_out": _left_out(one, lang),
    }


def lints(roots: Sequence[Path], lang: str) -> list[dict[str, Any]]:
    """Folders of lints below these."""
    found: list[dict[str, Any]] = []
    for root in roots:
        for folder in _lint_folders(root, DEEPEST):
            told = _lint(folder, root, lang)
            if told is not None:
                found.append(told)
            if len(found) == MOST_LINTS:
                return found
    return found


def _by_step(one: Watched) -> list[list[float]]:
    """[step, corrupt sequences] of stretches that hold any."""
    corrupt, steps = one.track.number("corrupt"), one.track.number("step")
    if not corrupt.size:
        return []
    stride = max(1, -(-corrupt.size // 400))
    starts = np.arange(0, corrupt.size, stride)
    sums = np.add.reduceat(corrupt, starts)
    told = [[int(steps[at]), float(total)] for at, total in zip(starts, sums, strict=True) if total]
    return [[int(steps[0]), 0.0], *told, [int(steps[-1]), 0.0]]


def _sources(one: Watched, lang: str) -> list[dict[str, Any]]:
    """Files in which examinations found corrupt sequences, the worst first."""
    counts: Counter[str] = Counter()
    seen: dict[str, dict[str, Any]] = {}
    for _, event in one.of(BatchExamined):
        for name, count in event.sources:
            counts[name] += count
            seen[name] = {"incident": event.incident, "defect": phrase(event.defect or "", lang)}
    return [
        {"name": name, "count": count, **seen[name]}
        for name, count in counts.most_common(MOST_SOURCES)
    ]


def _left_out(one: Watched, lang: str) -> list[dict[str, Any]]:
    done = one.standing.done
    found = []
    for _, event in one.of(Remedy):
        for action in event.plan:
            if isinstance(action, SkipDraws):
                found.append(
                    {
                        "remedy": event.id,
                        "incident": event.incident,
                        "sequences": size(action.ranges),
                        "first": action.ranges[0][0] if action.ranges else None,
                        "last": action.ranges[-1][1] - 1 if action.ranges else None,
                        "done": event.id in done,
                        "cause": phrase(event.cause, lang),
                    }
                )
    return found


def _lint_folders(folder: Path, depth: int) -> list[Path]:
    found = []
    try:
        entries = sorted(os.scandir(folder), key=lambda one: one.name)
    except OSError:
        return []
    names = {one.name for one in entries}
    if PROGRESS in names and "verdicts.jsonl" in names:
        return [folder]
    for entry in entries:
        if depth and entry.is_dir(follow_symlinks=False) and entry.name != "checkpoints":
            found += _lint_folders(Path(entry.path), depth - 1)
    return found


def _lint(folder: Path, root: Path, lang: str) -> dict[str, Any] | None:
    path = folder / PROGRESS
    try:
        if path.is_symlink() or path.stat().st_size > MOST_BYTES:
            return None
        progress = msgspec.json.decode(path.read_bytes(), type=Progress)
    except (OSError, msgspec.DecodeError):
        return None
    tally = progress.tally
    worst = sorted(
        (
            (corrupt, documents, file)
            for file, (documents, corrupt) in tally.files.items()
            if corrupt
        ),
        reverse=True,
    )[:MOST_SOURCES]
    return {
        "name": folder.relative_to(root).as_posix() if folder != root else folder.name,
        "done": progress.done,
        "documents": tally.documents,
        "corrupt": tally.corrupt,
        "unusual": tally.unusual,
        "lost": tally.lost,
        "characters": tally.characters,
        "classes": {phrase(kind, lang): count for kind, count in tally.classes.items()},
        "files": [
            {"name": file, "documents": documents, "corrupt": corrupt}
            for corrupt, documents, file in worst
        ],
        "examples": [
            {"class": phrase(kind, lang), "source": example.source,
             "evidence": say(example.evidence, lang), "excerpt": example.excerpt}
            for kind, examples in tally.examples.items()
            for example in examples
        ],
    }  # fmt: skip
