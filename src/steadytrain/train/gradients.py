"""Norms, clipping and shrinking of gradients; nothing here waits for the device."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from steadytrain.train.state import local

# P parameters, G groups of layers.

_BLOCK = re.compile(r"(?:^|\.)(?:layers|blocks|h|layer|block)\.(\d+)\.")
_DEPTHS = ("shallow", "middle", "deep")
GROUPS = ("embedding", *_DEPTHS, "head")
"""Where a gradient may break out: the input embedding, thirds of the blocks, what comes after."""


class Norms(NamedTuple):
    """L2 norms of the gradients over all ranks, on the device.

    Attributes:
        total: of all gradients together.
        group_G: of each group of layers.
        tensor_P: of each trained parameter; 0 where it has no gradient.
    """

    total: Tensor
    group_G: Tensor
    tensor_P: Tensor


class LayerNorms:
    """Global L2 norm of all gradients, of each group of layers, and of each tensor.

    Args:
        model: its blocks are what is named `layers.N.`, `blocks.N.`, `h.N.` or `block.N.`, as in
            Llama, GPT-2, torchtitan and Megatron; what has no such name counts as the head.

    Source: per-group norms, since a spike begins in the lowest layers (GLM-130B, section 3.1).
    """

    def __init__(self, model: nn.Module) -> None:
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._group_P = _groups(model, self._parameters)
        self._index_P: Tensor | None = None
        self._has_P: list[bool] = []

    def measure(self) -> Norms:
        """Of the gradients as they are now."""
        grads = [p.grad for p in self._parameters]
        held = [grad for grad in grads if grad is not None]
        norms = torch._foreach_norm([local(grad) for grad in held])
        norm_P = _whole(torch.stack([norm.float() for norm in norms]), held)
        has_P = [grad is not None for grad in grads]
        if self._index_P is None or self._has_P != has_P:
            groups = [group for group, has in zip(self._group_P, has_P, strict=True) if has]
            self._index_P, self._has_P = torch.tensor(groups, device=norm_P.device), has_P
        squares_G = torch.zeros(len(GROUPS), device=norm_P.device)
        squares_G.index_add_(0, self._index_P, norm_P.square())
        total = torch.linalg.vector_norm(norm_P)
        return Norms(total, squares_G.sqrt(), self._in_place(norm_P))

    def _in_place(self, norm_P: Tensor) -> Tensor:
        """With a 0 for each parameter that has no gradient."""
        if all(self._has_P):
            return norm_P
        found, nothing = iter(norm_P.unbind()), norm_P.new_zeros(())
        return torch.stack([next(found) if has else nothing for has in self._has_P])


def factor(norm: Tensor, *, max_norm: float | Tensor) -> Tensor:
    """What brings a norm down to `max_norm`; 1 where it is not above."""
    return (max_norm / (norm + 1e-6)).clamp(max=1.0)  # as torch.nn.utils.clip_grad_norm_ does it


def clip(parameters: Sequence[nn.Parameter], norm: Tensor, *, max_norm: float | Tensor) -> Tensor:
    """Scale all gradients in place so that their global norm is at most `max_norm`.

    Returns the factor.

    Source: Pascanu et al. 2013; 1.0 is the usual limit (GPT-3, PaLM, Llama).
    """
    found = factor(norm, max_norm=max_norm)
    scale(parameters, found)
    return found


def scale(parameters: Sequence[nn.Parameter], by: Tensor) -> None:
    """Multiply all gradients in place by a scalar on the device."""
    grads = [local(p.grad) for p in parameters if p.grad is not None]
    if grads:
        torch._foreach_mul_(grads, by)


def scale_each(parameters: Sequence[nn.Parameter], factor_P: Tensor) -> None:
    """Multiply each parameter's gradient in place by its own factor on the device."""
    for parameter, factor in zip(parameters, factor_P.unbind(), strict=True):
        if parameter.grad is not None:
            local(parameter.grad).mul_(factor)


class Shrinker:
    """Multiplies the gradients of the embedding and of the lowest blocks: where outbreaks begin.

    The embedding is multiplied by alpha, block i < reach * n of n by
    alpha ** (1 - (i + 0.5) / (reach * n)), which leads evenly to 1. For the embedding this equals
    `alpha * emb + (1 - alpha) * emb.detach()` in the forward pass.

    Args:
        model: the embedding is every nn.Embedding, and what else is named so; blocks are what
            `LayerNorms` takes for them.

    Source: embedding gradient shrink, GLM-130B (alpha 0.1). Blocks: guess, since an outbreak of the
    lowest layers' gradients is what it is against.
    """

    def __init__(self, model: nn.Module) -> None:
        self._embedding = list(_embedding(model).values())
        known = {id(parameter) for parameter in self._embedding}
        blocks = _blocks(model)
        self._blocks = [
            (parameter, blocks[id(parameter)])
            for parameter in model.parameters()
            if id(parameter) in blocks and id(parameter) not in known
        ]
        self._count = 1 + max(blocks.values(), default=-1)

    @property
    def has_embedding(self) -> bool:
        return bool(self._embedding)

    def shrink(self, alpha: float, reach: float) -> None:
        """Multiply the gradients in place."""
        factors = [(parameter, alpha) for parameter in self._embedding]
        deep = reach * self._count
        for parameter, block in self._blocks:
            if block < deep:
                # A block that the reach ends in would lie beyond it with its middle.
                share = max(0.0, 1 - (block + 0.5) / deep)
                factors.append((parameter, alpha**share))
        found = [(local(p.grad), factor) for p, factor in factors if p.grad is not None]
        if found:
            grads, numbers = zip(*found, strict=True)
            torch._foreach_mul_(list(grads), list(numbers))


def _embedding(model: nn.Module) -> dict[int, nn.Parameter]:
    """Parameters of the input embedding, by id. Megatron's, by name, is no nn.Embedding."""
    return {
        id(parameter): parameter
        for module in model.modules()
        if isinstance(module, nn.Embedding) or type(module).__name__.endswith("Embedding")
        for parameter in module.parameters(recurse=False)
        if parameter.ndim == 2
    }


def _blocks(model: nn.Module) -> dict[int, int]:
    """Number of the block that a parameter belongs to, by id."""
    return {
        id(parameter): int(found[1])
        for name, parameter in model.named_parameters()
        if (found := _BLOCK.search(name)) is not None
    }


def _groups(model: nn.Module, parameters: Sequence[nn.Parameter]) -> list[int]:
    """Index into GROUPS of each parameter."""
    embedding, blocks = _embedding(model), _blocks(model)
    count = 1 + max(blocks.values(), default=0)
    groups = []
    for parameter in parameters:
        if id(parameter) in embedding:
            groups.append(0)
        elif id(parameter) in blocks:
            groups.append(1 + len(_DEPTHS) * blocks[id(parameter)] // count)
        else:
            groups.append(len(GROUPS) - 1)
    return groups


def _whole(norm_P: Tensor, grads: Sequence[Tensor]) -> Tensor:
    """Norms of whole gradients from those of this rank's shards (DTensor, as under FSDP2).

    One collective for all tensors that are cut alike, not one for each.
    """
    cuts: dict[tuple[dist.ProcessGroup, ...], list[int]] = {}
    for index, grad in enumerate(grads):
        if isinstance(grad, DTensor):
            mesh, places = grad.device_mesh, grad.placements
            # Not is_shard(): a tensor that FSDP2 and tensor parallelism cut has a placement of
            # neither kind (torch 2.13).
            parted = [at for at, one in enumerate(places) if not one.is_replicate()]
            cut = tuple(mesh.get_group(at) for at in parted)
            cuts.setdefault(cut, []).append(index)
    if not cuts:
        return norm_P
    square_P = norm_P.square()
    for groups, members in cuts.items():
        part = square_P if len(members) == len(grads) else square_P[members]
        for group in groups:
            dist.all_reduce(part, group=group)
        if part is not square_P:
            square_P[members] = part
    return square_P.sqrt()
