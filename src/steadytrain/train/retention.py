"""Which checkpoints stay: the newest few, and the newest that is known to be healthy."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

PARTIAL, DELETED = ".partial", ".deleted"
NAME = re.compile(r"a(\d{4,})-s(\d{8,})")


@dataclass(frozen=True, slots=True)
class CheckpointRef:
    """A folder that is named like a finished checkpoint; whether it is sound, `verify` tells."""

    path: Path
    attempt: int
    step: int


def refs_of(folders: Iterable[Path]) -> list[CheckpointRef]:
    """Those that are named like a finished checkpoint, newest first: by attempt, then by step."""
    named = [(path, NAME.fullmatch(path.name)) for path in folders]
    refs = [CheckpointRef(path, int(name[1]), int(name[2])) for path, name in named if name]
    return sorted(refs, key=lambda ref: (ref.attempt, ref.step), reverse=True)


def kept(refs: Sequence[CheckpointRef], keep: int, healthy_until: int | None) -> set[CheckpointRef]:
    """Of checkpoints that can be gone back to, newest first: those that stay.

    Args:
        keep: so many of the newest.
        healthy_until: up to this step they are known to be good; None if none is.
    """
    healthy = [one for one in refs if healthy_until is not None and one.step <= healthy_until]
    return {*refs[:keep], *healthy[:1]}
