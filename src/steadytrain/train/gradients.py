"""Norms, clipping and shallow-layer scaling of gradients; nothing here waits for the device."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

# P parameters, G groups of layers.

_BLOCK = re.compile(r"(?:^|\.)(?:layers|blocks|h|layer|block)\.(\d+)\.")
_DEPTHS = ("shallow", "middle", "deep")
GROUPS = ("embedding", *_DEPTHS, "head")
"""Where a gradient may break out: the input embedding, thirds of the blocks, what comes after."""


class LayerNorms:
    """Global L2 norm of all gradients, and of each group of layers, before clipping.

    Args:
        model: its blocks are what is named `layers.N.`, `blocks.N.`, `h.N.` or `block.N.`, as in
            Llama, GPT-2, torchtitan and Megatron; what has no such name counts as the head.

    Source: per-group norms, since a spike begins in the lowest layers (GLM-130B, section 3.1).
    """

    def __init__(self, model: nn.Module) -> None:
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._group_P = _groups(model, self._parameters)
        self._index_P: Tensor | None = None

    def measure(self) -> tuple[Tensor, Tensor]:
        """The total, a scalar, and the groups [G], on the device."""
        pairs = [
            (p.grad, group)
            for p, group in zip(self._parameters, self._group_P, strict=True)
            if p.grad is not None
        ]
        # Of a sharded gradient, the norm of its parts is added up over the ranks by `_whole`.
        norms = torch._foreach_norm([grad for grad, _ in pairs])
        norm_P = torch.stack([_whole(norm).float() for norm in norms])
        if self._index_P is None or len(self._index_P) != len(pairs):
            groups = [group for _, group in pairs]
            self._index_P = torch.tensor(groups, device=norm_P.device)
        squares_G = torch.zeros(len(GROUPS), device=norm_P.device)
        squares_G.index_add_(0, self._index_P, norm_P.square())
        return torch.linalg.vector_norm(norm_P), squares_G.sqrt()


def clip(parameters: Sequence[nn.Parameter], norm: Tensor, *, max_norm: float) -> None:
    """Scale all gradients in place so that their global norm is at most `max_norm`.

    Source: Pascanu et al. 2013; 1.0 is the usual limit (GPT-3, PaLM, Llama).
    """
    torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)


def scale(parameters: Sequence[nn.Parameter], alpha: float) -> None:
    """Multiply gradients in place.

    For the embedding this equals `alpha * emb + (1 - alpha) * emb.detach()` in the forward pass.

    Source: embedding gradient shrink, GLM-130B (alpha 0.1).
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    if grads:
        torch._foreach_mul_(grads, alpha)


def shallow_parameters(model: nn.Module) -> tuple[nn.Parameter, ...]:
    """The input embedding and the lowest block: where gradient outbreaks begin.

    The embedding is every nn.Embedding; the lowest block is what is named `layers.0.`,
    `blocks.0.`, `h.0.` or `block.0.`, as in Llama, GPT-2, torchtitan and Megatron.
    """
    found: dict[int, nn.Parameter] = {}
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            found.update({id(p): p for p in module.parameters(recurse=False)})
    for name, parameter in model.named_parameters():
        block = _BLOCK.search(name)
        if block is not None and int(block[1]) == 0:
            found[id(parameter)] = parameter
    return tuple(found.values())


def _groups(model: nn.Module, parameters: Sequence[nn.Parameter]) -> list[int]:
    """Index into GROUPS of each parameter."""
    embedding = {
        id(p)
        for module in model.modules()
        if isinstance(module, nn.Embedding)
        for p in module.parameters(recurse=False)
    }
    blocks = {
        id(p): int(found[1])
        for name, p in model.named_parameters()
        if (found := _BLOCK.search(name)) is not None
    }
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


def _whole(norm: Tensor) -> Tensor:
    full = getattr(norm, "full_tensor", None)  # a DTensor under FSDP2
    return full() if full is not None else norm
