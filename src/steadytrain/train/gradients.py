"""Norm, clipping and shallow-layer scaling of gradients; nothing here waits for the device."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

_LOWEST_BLOCK = re.compile(r"(?:^|\.)(?:layers|blocks|h|layer|block)\.0\.")


def total_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Global L2 norm of all gradients, before clipping: a scalar on the device."""
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(grads, norm_type=2.0, error_if_nonfinite=False)
    full = getattr(norm, "full_tensor", None)  # a DTensor under FSDP2
    return full() if full is not None else norm


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
        if _LOWEST_BLOCK.search(name):
            found[id(parameter)] = parameter
    return tuple(found.values())
