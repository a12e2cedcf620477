"""Breaks a training process from within: its state, its gradients, its arithmetic."""

import json
import random
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from steadytrain.lab.faults import IN_MODEL, IN_ONE_REPLICA, IN_PROCESS, Fault
from steadytrain.lab.model import Transformer
from steadytrain.train.feed import DataOrder

LASTS = {"learning-rate": 2, "epsilon": 6, "rank": 6}
FACTORS = {"learning-rate": 40.0, "epsilon": 1e4}
MOMENT_FACTOR = 1e-4
"""Second moments of gradients a hundred times smaller: what a restore of the wrong file leaves."""

WRONG_BETAS = (0.9, 0.999)
"""The defaults of torch, where the run uses 0.9, 0.95: what a forgotten argument leaves."""

FLIPPED = 3
EXPONENT_BIT = 30
"""Its flip makes a float32 below 2 larger by a factor of 2^128. A flip of any lower bit shrinks a
weight near 0.1 or changes it a little: one weight among 400,000 that nobody feels."""

NOISE = 1.0
NOISY_RANK = 1
OUTBREAK = 40.0
DRIFT = 3e-3


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
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._rank = rank
        self._world = world
        self._faults = [fault for fault in faults if fault.kind in IN_PROCESS]
        self._path = fired
        self._fired: list[str] = json.loads(fired.read_text()) if fired.exists() else []
        self._left = dict.fromkeys(("learning-rate", "epsilon", "rank"), 0)
        self._is_noisy = False
        optimizer.register_step_pre_hook(self._before_optimizer)
        if any(fault.kind == "rank" for fault in self._faults):
            matrices(model)[-1].register_hook(self._disturb)  # type: ignore[no-untyped-call]

    def before_forward(self, step: int) -> None:
        """Break the state between two updates. `step` is the update about to be made."""
        for fault in self._due(step, ("weights", "moments", "optimizer", "adam-reset", "betas")):
            match fault.kind:
                case "weights":
                    _flip_bits(matrices(self._model), fault.seed)
                case "moments":
                    _flip_bits(_moments(self._optimizer, "exp_avg"), fault.seed)
                case "optimizer":
                    _scale_second_moments(self._optimizer, MOMENT_FACTOR)
                case "adam-reset":
                    _reset(self._optimizer)
                case "betas":
                    for group in self._optimizer.param_groups:
                        group["betas"] = WRONG_BETAS
            self._note(fault)
        for fault in self._due(step, IN_ONE_REPLICA):
            if fault.kind != "flip-gradient":
                self._flip_one(fault)
                self._note(fault)
        for fault in self._due(step, tuple(self._left)):
            self._left[fault.kind] = LASTS[fault.kind]
            self._note(fault)
        self._is_noisy = self._left["rank"] > 0 and self._rank == NOISY_RANK

    def after_backward(self, step: int) -> None:
        """Break a gradient before the update that uses it."""
        for fault in self._due(step, ("gradient",)):
            chance = random.Random(fault.seed)
            parameter = chance.choice([p for p in self._model.parameters() if p.grad is not None])
            assert parameter.grad is not None
            flat = parameter.grad.view(-1)
            flat[chance.randrange(flat.numel())] = chance.choice([float("inf"), float("nan")])
            self._note(fault)
        for fault in self._due(step, ("flip-gradient",)):
            self._flip_one(fault)
            self._note(fault)
        self._left["rank"] = max(0, self._left["rank"] - 1)

    def _flip_one(self, fault: Fault) -> None:
        """Flip one bit in the copy of one rank, which the fault's seed chooses."""
        chance = random.Random(fault.seed)
        if chance.randrange(self._world) == self._rank:
            flip_bit(fault.kind, self._model.parameters(), self._optimizer, chance)

    def _before_optimizer(self, *_: Any) -> None:
        for kind, key in (("learning-rate", "lr"), ("epsilon", "eps")):
            if self._left[kind] > 0:
                self._left[kind] -= 1
                for group in self._optimizer.param_groups:
                    group[key] *= FACTORS[kind]

    def _disturb(self, grad: Tensor) -> Tensor:
        """What a broken unit adds to this rank's own gradient: something else each time."""
        return grad + NOISE * torch.randn_like(grad) if self._is_noisy else grad

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


class Outbreaks:
    """Faults in the model's own arithmetic, for the batches of some draws.

    "outbreak": the gradient of the embedding is many times too large. "logits": all rows of the
    head are drawn the way in which the logits grow together, which the loss does not feel.
    """

    def __init__(self, model: Transformer, order: DataOrder, faults: Sequence[Fault]) -> None:
        mine = [fault for fault in faults if fault.kind in IN_MODEL]
        self._hits = {kind: _batches(order, mine, kind) for kind in IN_MODEL}
        self._active = dict.fromkeys(IN_MODEL, False)
        self._mean_W = torch.zeros(model.config.width)
        if mine:
            model.register_forward_pre_hook(self._look)
            model.embed.register_forward_hook(self._enlarge)
            model.head.register_forward_pre_hook(self._remember)
            model.head.weight.register_hook(self._drift)  # type: ignore[no-untyped-call]

    def _look(self, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        # Two sequences in a row: one alone comes again in another epoch of a small corpus.
        mark = zlib.crc32(given[0][:2].cpu().numpy().tobytes())
        self._active = {kind: mark in marks for kind, marks in self._hits.items()}

    def _enlarge(self, _: nn.Module, __: Any, out_BTW: Tensor) -> None:
        if self._active["outbreak"] and out_BTW.requires_grad:
            out_BTW.register_hook(lambda grad: OUTBREAK * grad)  # type: ignore[no-untyped-call]

    def _remember(self, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        self._mean_W = given[0].detach().mean((0, 1))

    def _drift(self, grad_VW: Tensor) -> Tensor:
        return grad_VW - DRIFT * self._mean_W.sign() if self._active["logits"] else grad_VW


def _batches(order: DataOrder, faults: Sequence[Fault], kind: str) -> set[int]:
    """Marks of the pairs of sequences that may lead a batch."""
    return {
        zlib.crc32(_inputs(order, draw) + _inputs(order, draw + 1))
        for fault in faults
        if fault.kind == kind
        for draw in range(fault.first_draw or 0, fault.end_draw or 0)
    }


def _inputs(order: DataOrder, draw: int) -> bytes:
    return order.block(draw).tokens[:-1].astype(np.int64).tobytes()


def matrices(model: nn.Module) -> list[Tensor]:
    return [parameter for parameter in model.parameters() if parameter.dim() == 2]


def _moments(optimizer: torch.optim.Optimizer, name: str) -> list[Tensor]:
    return [state[name] for state in optimizer.state.values() if state[name].dim() == 2]


@torch.no_grad()
def flip_bit(
    kind: str,
    parameters: Iterable[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    chance: random.Random,
) -> tuple[int, int]:
    """Flip one bit of a float32 of the kind `IN_ONE_REPLICA` names; the parameter's number and
    the bit."""
    trained = [one for one in parameters if one in optimizer.state]
    number = chance.randrange(len(trained))
    parameter = trained[number]
    tensor = {
        "flip-weight": parameter,
        "flip-gradient": parameter.grad,
        "flip-moment": optimizer.state[parameter].get("exp_avg"),
        "flip-square": optimizer.state[parameter].get("exp_avg_sq"),
    }[kind]
    assert tensor is not None
    bits = tensor.detach().view(-1).view(torch.int32)
    bit = chance.randrange(32)
    bits[chance.randrange(bits.numel())] ^= 1 << bit if bit < 31 else -(2**31)
    return number, bit


@torch.no_grad()
def _flip_bits(tensors: Sequence[Tensor], seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(FLIPPED):
        bits = chance.choice(tensors).view(-1).view(torch.int32)
        bits[chance.randrange(bits.numel())] ^= 1 << EXPONENT_BIT


@torch.no_grad()
def _scale_second_moments(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for state in optimizer.state.values():
        if "exp_avg_sq" in state:
            state["exp_avg_sq"].mul_(factor)


@torch.no_grad()
def _reset(optimizer: torch.optim.Optimizer) -> None:
    for state in optimizer.state.values():
        for value in state.values():
            value.zero_()


def _key(fault: Fault) -> str:
    return f"{fault.kind}@{fault.step}"
