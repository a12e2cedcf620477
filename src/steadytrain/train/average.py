"""The average of gradients over the ranks, with some ranks left out: for a rank whose gradients are
wrong while its machine is not yet replaced.

Under DDP a communication hook zeroes the bucket of a rank that is left out and divides the sum by
the number of the others. It is registered when the first order comes and stays, since DDP takes one
hook and gives none back; with nobody left out it computes what DDP computes without a hook, to the
bit, so that a restart that has not registered it yet makes the same updates.
"""

import warnings
from collections.abc import Collection
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel


class Average:
    """Who counts in the average of gradients. Every method: every rank, same order.

    Args:
        model: wrapped in DDP, or else nobody can be left out.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._asked: frozenset[int] = frozenset()
        self._excluded: frozenset[int] = frozenset()
        self._is_hooked = False
        self._rank = self._world = 0

    def reason_not(self, excluded: Collection[int] = ()) -> str | None:
        """Why ranks cannot be left out here; None if they can."""
        if any(isinstance(one, FSDPModule) for one in self._model.modules()):
            return (
                "under fully_shard (FSDP2) gradients are summed shard by shard inside the backward "
                "pass, so one rank's share cannot be taken out of them; replace the machine"
            )
        if not isinstance(self._model, DistributedDataParallel):
            return "the model is not wrapped in DistributedDataParallel: there is one rank only"
        if not self._is_hooked and _has_hook(self._model):
            return (
                "the model has a communication hook of its own, and DDP takes only one; "
                "leave the rank out there"
            )
        world = dist.get_world_size(self._model.process_group)
        if any(not 0 <= rank < world for rank in excluded):
            return f"rank {max(excluded)} is none of the {world} ranks, 0 to {world - 1}"
        if len(set(excluded)) >= world:
            return f"none of the {world} ranks would be left to average"
        return None

    def leave_out(self, excluded: frozenset[int]) -> None:
        """From the next backward pass on, let these ranks' gradients count nothing.

        What cannot be done is said once and left undone: a run shall not die of a person's order,
        or of one that another number of ranks was given.
        """
        if excluded == self._asked:
            return
        self._asked = excluded
        reason = self.reason_not(excluded) if excluded else None
        if reason is not None:
            warnings.warn(
                f"ranks {sorted(excluded)} cannot be left out of the average: {reason}; all ranks "
                "count",
                stacklevel=2,
            )
            excluded = frozenset()
        if excluded == self._excluded:
            return
        if not self._is_hooked:
            assert isinstance(self._model, DistributedDataParallel)
            group = self._model.process_group
            self._rank, self._world = dist.get_rank(group), dist.get_world_size(group)
            self._model.register_comm_hook(group, self._reduce)
            self._is_hooked = True
        self._excluded = excluded

    def _reduce(
        self,
        group: dist.ProcessGroup,
        bucket: dist.GradBucket,  # type: ignore[name-defined]
    ) -> torch.futures.Future[Tensor]:
        gradients = bucket.buffer()
        if self._rank in self._excluded:
            gradients.zero_()  # zero_, not times 0: what is wrong with them may be a NaN
        else:
            # As DDP does it: times 1 / n, not divided by n, which rounds otherwise.
            gradients.mul_(1.0 / (self._world - len(self._excluded)))
        work = dist.all_reduce(gradients, group=group, async_op=True)
        assert work is not None
        future: torch.futures.Future[Any] = work.get_future()
        return future.then(lambda done: done.value()[0])


def _has_hook(model: DistributedDataParallel) -> bool:
    # Its own list knows hooks written in Python, the logging data those built in (2.6 to 2.13).
    told: dict[str, Any] = model._get_ddp_logging_data()  # type: ignore[no-untyped-call]
    return bool(model._comm_hooks) or told.get("comm_hook") is not None
