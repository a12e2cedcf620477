"""Honest faults on a schedule: what breaks real runs, done to a real run that is told nothing.

No fault leaves a mark that the judge could read: a garbled block keeps its source, a flipped bit
is only a flipped bit. What was injected is written down beside the run, for the grading alone.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from steadytrain.causes import (
    BAD_TEXT,
    CORRUPTED_WEIGHTS,
    LEARNING_RATE,
    OPTIMIZER_STATE,
    OVERFLOW,
)
from steadytrain.errors import SettingError
from steadytrain.lab.texts import Block, Corpus, decode

IN_DATA = ("garbled", "newlines")
IN_PROCESS = ("learning-rate", "gradient", "weights", "optimizer")
FROM_OUTSIDE = ("kill", "freeze", "tear")
ALL = (*IN_DATA, *IN_PROCESS, *FROM_OUTSIDE)

EXPECTED_CAUSE = {
    "garbled": BAD_TEXT,
    "newlines": BAD_TEXT,
    "learning-rate": LEARNING_RATE,
    "gradient": OVERFLOW,
    "weights": CORRUPTED_WEIGHTS,
    "optimizer": OPTIMIZER_STATE,
}
EXPECTED_DEFECT = {"garbled": "garbled", "newlines": "blank"}

SHARD_STEPS = 4
"""A bad shard lasts for so many updates."""

LR_FACTOR = 40.0
LR_STEPS = 2
MOMENT_FACTOR = 1e-4
"""Second moments of gradients a hundred times smaller: what a restore of the wrong file leaves."""

FLIPPED_WEIGHTS = 3
EXPONENT_BITS = (29, 30)
"""Bits of a float32 whose flip changes a weight by a factor of 2^64 or 2^128. Lower bits of a
weight near 0.1 are seldom felt at all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One planned fault: `kind` of ALL, before update `step`, in `domain` if it is in the data."""

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
    unknown = [kind for kind in kinds if kind not in ALL]
    if unknown:
        raise SettingError(
            f"{unknown[0]!r} is no fault that the lab knows, so it cannot be injected. "
            f"Choose from: {', '.join(ALL)}."
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
        faults.append(_fault(kind, step, chance, domains=domains, draws_per_step=draws_per_step))
    return tuple(faults)


def _fault(
    kind: str, step: int, chance: random.Random, *, domains: Sequence[str], draws_per_step: int
) -> Fault:
    seed = chance.randrange(2**31)
    if kind not in IN_DATA:
        return Fault(kind=kind, step=step, seed=seed)
    # Garbling is most itself in the first domain (Chinese); newlines in the last (code).
    domain = 0 if kind == "garbled" else len(domains) - 1
    first = (step - 1) * draws_per_step
    return Fault(
        kind=kind,
        step=step,
        seed=seed,
        domain=domain,
        first_draw=first,
        end_draw=first + SHARD_STEPS * draws_per_step,
    )


def save(faults: Sequence[Fault], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(fault) for fault in faults], indent=1))


def load(path: Path) -> tuple[Fault, ...]:
    return tuple(Fault(**fields) for fields in json.loads(path.read_text()))


class FaultyOrder:
    """A corpus some of whose shards are bad. Still a pure function of the draw."""

    def __init__(self, corpus: Corpus, faults: Sequence[Fault]) -> None:
        self._corpus = corpus
        self._faults = [fault for fault in faults if fault.kind in IN_DATA]
        self.domains = corpus.domains

    def block(self, draw: int) -> Block:
        block = self._corpus.block(draw)
        fault = self._fault_at(draw, block.domain)
        if fault is None:
            return block
        spoil = _garble if fault.kind == "garbled" else _blank
        tokens = spoil(block.tokens, self._corpus.text(draw), draw)
        return Block(tokens=tokens, domain=block.domain, source=block.source)

    def text(self, draw: int) -> str:
        return decode(self.block(draw).tokens)

    def _fault_at(self, draw: int, domain: int) -> Fault | None:
        for fault in self._faults:
            assert fault.first_draw is not None
            assert fault.end_draw is not None
            if fault.first_draw <= draw < fault.end_draw and fault.domain == domain:
                return fault
        return None


class Saboteur:
    """Breaks a training process from within, each fault once in the life of the run.

    Args:
        fired: a file beside the run where past faults are noted, so that a restart repeats none.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        faults: Sequence[Fault],
        *,
        fired: Path,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._faults = [fault for fault in faults if fault.kind in IN_PROCESS]
        self._path = fired
        self._fired: list[str] = json.loads(fired.read_text()) if fired.exists() else []
        self._lr_steps_left = 0
        optimizer.register_step_pre_hook(self._before_optimizer)

    def before_forward(self, step: int) -> None:
        """Break the state between two updates. `step` is the update about to be made."""
        for fault in self._due(step, ("weights", "optimizer")):
            if fault.kind == "weights":
                _flip_bits(self._model, fault.seed)
            else:
                _shrink_second_moments(self._optimizer)
            self._note(fault)
        for fault in self._due(step, ("learning-rate",)):
            self._lr_steps_left = LR_STEPS
            self._note(fault)

    def after_backward(self, step: int) -> None:
        """Break a gradient before the update that uses it."""
        for fault in self._due(step, ("gradient",)):
            chance = random.Random(fault.seed)
            parameter = chance.choice([p for p in self._model.parameters() if p.grad is not None])
            assert parameter.grad is not None
            flat = parameter.grad.view(-1)
            flat[chance.randrange(flat.numel())] = chance.choice([float("inf"), float("nan")])
            self._note(fault)

    def _before_optimizer(self, *_: Any) -> None:
        if self._lr_steps_left > 0:
            self._lr_steps_left -= 1
            for group in self._optimizer.param_groups:
                group["lr"] *= LR_FACTOR

    def _due(self, step: int, kinds: tuple[str, ...]) -> list[Fault]:
        return [
            fault
            for fault in self._faults
            if fault.kind in kinds and step >= fault.step and _key(fault) not in self._fired
        ]

    def _note(self, fault: Fault) -> None:
        self._fired.append(_key(fault))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self._fired))


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


def _garble(tokens: np.ndarray, text: str, draw: int) -> np.ndarray:
    """Half of the blocks: UTF-8 read as GBK. The others: random bytes."""
    if draw % 2 == 0:
        raw = text.encode().decode("gbk", errors="replace").encode()
        spoiled = np.frombuffer(raw[: len(tokens)].ljust(len(tokens), b"\n"), dtype=np.uint8)
    else:
        spoiled = np.random.default_rng(draw).integers(0, 256, len(tokens), dtype=np.uint8)
    return spoiled


def _blank(tokens: np.ndarray, text: str, draw: int) -> np.ndarray:
    return np.full(len(tokens), ord("\n"), dtype=np.uint8)


@torch.no_grad()
def _flip_bits(model: nn.Module, seed: int) -> None:
    chance = random.Random(seed)
    matrices = [p for p in model.parameters() if p.dim() == 2]
    for _ in range(FLIPPED_WEIGHTS):
        bits = chance.choice(matrices).view(-1).view(torch.int32)
        bits[chance.randrange(bits.numel())] ^= 1 << chance.choice(EXPONENT_BITS)


@torch.no_grad()
def _shrink_second_moments(optimizer: torch.optim.Optimizer) -> None:
    for state in optimizer.state.values():
        if "exp_avg_sq" in state:
            state["exp_avg_sq"].mul_(MOMENT_FACTOR)


def _key(fault: Fault) -> str:
    return f"{fault.kind}@{fault.step}"
