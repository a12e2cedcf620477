"""The average of gradients over torchft's replicas."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from steadytrain.train.state import local

if TYPE_CHECKING:
    from torchft import Manager

BUCKET_BYTES = 25 * 1024 * 1024
"""Gradients that are sent at once. Source: DistributedDataParallel's default."""


@torch.no_grad()
def average(manager: "Manager", parameters: Sequence[nn.Parameter]) -> None:
    """Average the gradients of these parameters, or of their local shards, over the replicas.

    Every rank, same order. A parameter without a gradient counts as zero where another replica has
    one, and keeps none where nobody has. After an error the gradients mean nothing, and the vote
    fails.
    """
    has_gradient_P = torch.tensor(
        [float(one.grad is not None) for one in parameters], device=parameters[0].device
    )
    works = [manager.allreduce(has_gradient_P)]
    for one in parameters:
        if one.grad is None:
            one.grad = torch.zeros_like(one)
    gradients = [local(one.grad) for one in parameters if one.grad is not None]
    buckets = [(some, torch.cat([one.flatten() for one in some])) for some in _buckets(gradients)]
    works += [manager.allreduce(flat) for _, flat in buckets]
    for work in works:
        work.wait()
    for some, flat in buckets:
        parts = torch.split(flat, [one.numel() for one in some])
        for gradient, part in zip(some, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
    for one, count in zip(parameters, has_gradient_P.tolist(), strict=True):
        if count == 0.0:
            one.grad = None


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Gradients of one dtype and device together, of about `BUCKET_BYTES`, in their order."""
    some: list[Tensor] = []
    size = 0
    for one in gradients:
        is_other = some and (one.dtype, one.device) != (some[0].dtype, some[0].device)
        if is_other or (some and size >= BUCKET_BYTES):
            yield some
            some, size = [], 0
        some.append(one)
        size += one.numel() * one.itemsize
    if some:
        yield some
