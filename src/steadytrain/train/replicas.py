"""Copies of one state: ranks that should hold the same bits say so every few steps.

Under DistributedDataParallel each rank holds a whole copy, and under fully_shard on a mesh of two
dimensions (HSDP) each group of ranks does. All copies make the same update from the same averaged
gradient, so they stay equal to the bit, and where they do not, a memory, a kernel or a link has
changed something. Each rank's digest rides in the vector that ranks add up, in a place of its own.

Buffers are not compared: running statistics of a batch are each rank's own.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from steadytrain.errors import SettingError
from steadytrain.events import ReplicasCompared, UnlikeReplicas
from steadytrain.train.digests import Digests, halves, spell
from steadytrain.train.ranks import Ranks
from steadytrain.train.state import TrainingState

PARTS = ("weights", "moments")
MOST_NAMED = 16
"""Tensors that are named one by one where replicas differ."""


class Replicas:
    """Who holds the same as whom, and what it looks like. Made by every rank, same order.

    Args:
        every: steps between comparisons; None: none is made.

    Attributes:
        copies: replicas of each part of the state; 1: nothing to compare with.
        apart_after: while replicas differ, the last update after which all were alike.

    Raises:
        SettingError: ranks train different parameters, as the stages of a pipeline do.
    """

    def __init__(
        self, model: nn.Module, state: TrainingState, ranks: Ranks, *, every: int | None
    ) -> None:
        self._state = state
        self._ranks = ranks
        self._every = every
        self._refuse_stages()
        mates = ranks.gather(_mates_of(model, state, ranks))
        # A group counts if all of it say so.
        groups = sorted({one for one in mates if all(mates[rank] == one for rank in one)})
        self._groups = [group for group in groups if len(group) > 1]
        self.copies = min(map(len, groups)) if groups else 1
        self._digests = Digests(next(model.parameters()).device)
        self.apart_after: int | None = None
        self._agreed = 0
        self._attempt = 0

    def is_due(self, step: int, attempt: int) -> bool:
        """Whether the state before this update is compared: the first of each life, and each
        `every` steps, so that what a snapshot keeps has been compared."""
        if self._every is None or self.copies == 1:
            return False
        is_first, self._attempt = attempt != self._attempt, attempt
        return is_first or (step - 1) % self._every == 0

    def digests(self) -> Tensor:
        """Of this rank's weights and of the rest of its state, float64 [4], on the device."""
        weights, others = self._parts()
        return torch.cat([halves(self._digests.of(part.values())) for part in (weights, others)])

    def compared(self, digests_RPH: np.ndarray, attempt: int, step: int) -> ReplicasCompared:
        """What all ranks' digests [ranks, parts, halves] tell of the state after `step`."""
        spelled = [tuple(spell(*one) for one in parts.tolist()) for parts in digests_RPH]
        unlike = [
            one
            for at, part in enumerate(PARTS)
            for one in self._unlike(part, [rank[at] for rank in spelled])
        ]
        self._note(unlike)
        if not unlike:
            self._agreed, self.apart_after = step, None
        return ReplicasCompared(
            attempt=attempt, step=step, copies=self.copies, digests=spelled[0], unlike=tuple(unlike)
        )

    def compare(self, attempt: int, step: int, *, tell: Callable[[ReplicasCompared], None]) -> None:
        """Compare now, waiting for it. Every rank, same order; rare."""
        if self._every is None or self.copies == 1:
            return
        found = self._ranks.gather(self.digests().reshape(len(PARTS), 2).cpu().numpy())
        tell(self.compared(np.stack(found), attempt, step))

    def compare_each(self) -> tuple[UnlikeReplicas, ...]:
        """Tensors that are not the same on all replicas. Every rank, same order; rare."""
        if self.copies == 1:
            return ()
        weights, others = self._parts()
        tensors = weights | others
        mine = torch.stack([halves(self._digests.of([one])) for one in tensors.values()]).tolist()
        found = self._ranks.gather([spell(*one) for one in mine])
        unlike = [
            one
            for at, name in enumerate(tensors)
            for one in self._unlike(name, [rank[at] for rank in found])
        ]
        self._note(unlike)
        return tuple(unlike)

    def _refuse_stages(self) -> None:
        """Norms, digests and examinations are of one model that every rank has its share of."""
        if len(set(self._ranks.gather(self._state.fingerprint()))) == 1:
            return
        first, *others = self._ranks.gather(self._state.parameters())
        rank, other = next((at, one) for at, one in enumerate(others, 1) if one != first)
        raise SettingError(
            f"ranks 0 and {rank} train different parameters: only one of them has "
            f"{min(first ^ other)}. A Session does not know the stages of a pipeline. Run such a "
            "script under `steadytrain run`, with `steadytrain.progress.beat` in its loop: it is "
            "watched, and started again from its own checkpoints."
        )

    def _note(self, unlike: Sequence[UnlikeReplicas]) -> None:
        if unlike and self.apart_after is None:
            self.apart_after = self._agreed

    def _unlike(self, part: str, digests: Sequence[str]) -> list[UnlikeReplicas]:
        """Groups of replicas that do not all have the same digest."""
        told = [(group, tuple(digests[rank] for rank in group)) for group in self._groups]
        return [
            UnlikeReplicas(part=part, ranks=group, digests=theirs)
            for group, theirs in told
            if len(set(theirs)) > 1
        ]

    def _parts(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Weights, and the rest of the state, under their names."""
        tensors = self._state.tensors()
        for name in self._state.buffers():
            del tensors[name]
        weights = {name: one for name, one in tensors.items() if name.startswith("model.")}
        return weights, {name: one for name, one in tensors.items() if name not in weights}


def kind_of(name: str) -> str:
    """ "weights", or what the optimizer calls a tensor of its state."""
    return "weights" if name.startswith("model.") else name.rpartition(".")[2]


def _mates_of(model: nn.Module, state: TrainingState, ranks: Ranks) -> tuple[int, ...]:
    """Ranks that hold the very same parts of the state as this one, itself among them."""
    if ranks.world == 1:
        return (0,)
    if isinstance(model, DistributedDataParallel):
        return tuple(sorted(dist.get_process_group_ranks(model.process_group)))
    mates = set(range(ranks.world))
    buffers = state.buffers()
    for name, tensor in state.tensors().items():
        if name.startswith("model.") and name not in buffers:
            # A plain tensor of a model without DDP: nobody sees to it that copies stay equal.
            mates &= _same_shard(tensor) if isinstance(tensor, DTensor) else {ranks.rank}
    return tuple(sorted(mates))


def _same_shard(tensor: DTensor) -> set[int]:
    """Ranks of its mesh that hold the same part of a tensor."""
    mesh = tensor.device_mesh
    here = mesh.get_coordinate()
    if here is None:
        return set()
    at = tuple(
        slice(None) if placement.is_replicate() else place
        for placement, place in zip(tensor.placements, here, strict=True)
    )
    return {int(rank) for rank in mesh.mesh[at].flatten()}
