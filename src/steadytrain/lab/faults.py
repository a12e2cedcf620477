"""Honest faults on a schedule: what breaks real runs, done to a real run that is told nothing.

No fault leaves a mark that the judge could read: a garbled block keeps its source, a flipped bit
is only a flipped bit. What was injected is written down beside the run, for the grading alone.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from steadytrain.causes import (
    BAD_TEXT,
    CORRUPTED_GRADIENT,
    CORRUPTED_MOMENTS,
    CORRUPTED_WEIGHTS,
    EPSILON,
    LEAKED,
    LEARNING_RATE,
    LOGIT_GROWTH,
    MIXTURE,
    OPTIMIZER_STATE,
    OVERFLOW,
    REPEATED_DATA,
    SHALLOW_GRADIENTS,
)
from steadytrain.errors import SettingError

IN_TEXT = ("garbled", "newlines", "encoded", "repetition", "markup", "wrong-domain")
SHARD = "shard-"
IN_SHARD = tuple(f"{SHARD}{kind}" for kind in IN_TEXT)
"""The same in some documents of a domain, for as long as they are drawn: a source went bad."""

IN_ORDER = ("repeated-batch", "mixture", "leak")
IN_MODEL = ("outbreak", "logits")
"""In the model's own arithmetic, for the batches of some draws: made again, they come again."""

IN_PROCESS = (
    "learning-rate", "gradient", "weights", "moments", "optimizer", "adam-reset", "betas",
    "epsilon", "rank", "flip-weight", "flip-gradient", "flip-moment", "flip-square",
)  # fmt: skip
IN_ONE_REPLICA = ("flip-weight", "flip-gradient", "flip-moment", "flip-square")
"""One bit of one rank's copy: of a weight, an averaged gradient, a first or a second moment."""

FROM_OUTSIDE = ("kill", "freeze", "tear")
BY_DRAWS = (*IN_TEXT, *IN_SHARD, *IN_ORDER, *IN_MODEL)
ALL = (*BY_DRAWS, *IN_PROCESS, *FROM_OUTSIDE)
DEMO = (
    "garbled", "newlines", "learning-rate", "gradient", "weights", "optimizer", *FROM_OUTSIDE,
)  # fmt: skip
"""What the demo shows: one of each sort."""

EXPECTED_CAUSE = {
    **dict.fromkeys((*IN_TEXT, *IN_SHARD), BAD_TEXT),
    "repeated-batch": REPEATED_DATA,
    "mixture": MIXTURE,
    "outbreak": SHALLOW_GRADIENTS,
    "logits": LOGIT_GROWTH,
    "learning-rate": LEARNING_RATE,
    "gradient": OVERFLOW,
    "weights": CORRUPTED_WEIGHTS,
    "moments": CORRUPTED_MOMENTS,
    "optimizer": OPTIMIZER_STATE,
    "adam-reset": OPTIMIZER_STATE,
    "betas": OPTIMIZER_STATE,
    "epsilon": EPSILON,
    "rank": CORRUPTED_GRADIENT,
    "flip-weight": CORRUPTED_WEIGHTS,
    "flip-gradient": CORRUPTED_GRADIENT,
    "flip-moment": CORRUPTED_MOMENTS,
    "flip-square": CORRUPTED_MOMENTS,
}
EXPECTED_DEFECT = {
    "garbled": "garbled",
    "newlines": "blank",
    "encoded": "encoded",
    "repetition": "repetition",
    "markup": "markup",
    "wrong-domain": "wrong_domain",
}
EXPECTED_DEFECT |= {f"{SHARD}{kind}": defect for kind, defect in EXPECTED_DEFECT.items()}
EXPECTED_PATTERN = {"leak": LEAKED}
"""Of faults that are no incident: training goes well, only the panel measures nothing any more."""

SHARD_STEPS = 4
"""A bad shard lasts for so many updates."""

LASTING_STEPS = {
    "mixture": 32, "logits": 40, "repeated-batch": 8, **dict.fromkeys((*IN_SHARD, "leak"), 400),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One planned fault: `kind` of ALL, before update `step`; in `domain` if it is in the text, and
    for the draws [first_draw, end_draw) if it goes by draws."""

    kind: str
    step: int
    seed: int
    domain: int | None = None
    first_draw: int | None = None
    end_draw: int | None = None


def plan(
    kinds: Sequence[str], *, steps: int, seed: int, domains: Sequence[str], draws_per_step: int
) -> tuple[Fault, ...]:
    """Spread faults over the stable part of a run, in random order, far enough to tell apart.

    Raises:
        SettingError: an unknown kind, or a run too short for so many faults.
    """
    for kind in kinds:
        name, _, domain = kind.partition(":")
        if name not in ALL or (domain and domain not in domains):
            raise SettingError(
                f"{kind!r} is no fault that the lab knows, so it cannot be injected. Choose from: "
                f"{', '.join(ALL)}; a fault in the text may name its domain, as garbled:zh."
            )
    if not kinds:
        return ()
    first, last = max(100, round(0.16 * steps)), round(0.84 * steps)
    gap = (last - first) // len(kinds)
    if gap < 45:
        raise SettingError(
            f"{steps} steps are too few for {len(kinds)} faults: each needs 45 steps to be seen, "
            f"cured and verified. Write --steps {round((45 * len(kinds) + 100) / 0.84) + 10}, or "
            "choose fewer faults."
        )
    chance = random.Random(f"faults-{seed}")
    order = chance.sample(list(kinds), len(kinds))
    faults = []
    for index, kind in enumerate(order):
        step = first + index * gap + chance.randrange(max(1, gap - 44))
        faults.append(at(kind, step, chance, domains=domains, draws_per_step=draws_per_step))
    return tuple(faults)


def at(
    kind: str, step: int, chance: random.Random, *, domains: Sequence[str], draws_per_step: int
) -> Fault:
    """A fault of a known kind before a chosen step; what else it needs is drawn from `chance`."""
    seed = chance.randrange(2**31)
    kind, _, name = kind.partition(":")
    if kind not in BY_DRAWS:
        return Fault(kind=kind, step=step, seed=seed)
    # Garbling is most itself in the first domain (Chinese); the others in the last (code).
    usual = 0 if kind in ("garbled", "markup") else len(domains) - 1
    first = (step - 1) * draws_per_step
    return Fault(
        kind=kind,
        step=step,
        seed=seed,
        domain=domains.index(name) if name else usual,
        first_draw=first,
        end_draw=first + LASTING_STEPS.get(kind, SHARD_STEPS) * draws_per_step,
    )


def save(faults: Sequence[Fault], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(fault) for fault in faults], indent=1))


def load(path: Path) -> tuple[Fault, ...]:
    return tuple(Fault(**fields) for fields in json.loads(path.read_text()))


def tear(checkpoint: Path, seed: int) -> Path:
    """Cut the largest file of a checkpoint short, as a lost write-back does."""
    largest = max(
        (path for path in checkpoint.rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )
    size = largest.stat().st_size
    with open(largest, "r+b") as file:
        file.truncate(random.Random(seed).randrange(size // 4, size))
    return largest
