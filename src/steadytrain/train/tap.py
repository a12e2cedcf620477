"""Device sums -> numbers on the host, read one step late.

On the step's path nothing here waits for the device: sums stay where they are, one asynchronous
copy brings them over, and `read` is called a step later, when the copy has long been made.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from steadytrain.train.losses import NUM_SUMS

# B sequences, K domains.

DIGEST_HALVES = 4
"""Of each rank: its weights and the rest of its state, a digest each, in two halves. 32 bytes that
travel in the steps that compare."""

PROBE_WEIGHTS = 16_384
"""Weights whose change is measured. The root mean square of n values is known to 1 / sqrt(2 n):
0.6 % here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """The numbers of one update, on the host.

    Attributes:
        sums: float64 [K, 5]: nll, tokens, bytes, sequences, squares over all ranks.
        corrupt: sequences of each domain whose text is corrupt, over all ranks.
        leaked: those that hold text of the panel.
        repeated: sequences that stood in the steps before.
        z_nll: sum of logsumexp^2 over all tokens; 0 where it is not known.
        layer_norms: gradient norm of each group of layers.
        attention_logit: the largest that any rank heard; None if none did.
        losses: mean loss of this rank's sequences, in the order of its draws.
        digests: [ranks, parts, halves] of each rank's state before the update, if it was taken.
        called: orders that rank 0 holds ready.
    """

    step: int
    sums: np.ndarray
    corrupt: tuple[int, ...]
    leaked: tuple[int, ...]
    repeated: int
    z_nll: float
    called: int
    loss_limit: float
    grad_limit: float
    grad_norm: float
    layer_norms: tuple[float, ...]
    attention_logit: float | None
    update: float
    committed: bool
    losses: np.ndarray
    digests: np.ndarray | None = None


class Tap:
    """Collects an update's sums on the device and hands them over a step later.

    Args:
        maxima: ranks whose largest attention logit travels along, the first ones of all. The vector
            is added up, so each of them has a place of its own, where the others add nothing.
        world: ranks; each has a place for the digests of its state, behind all else.
        counts: whether this rank's sequences do; another rank's are the same, if not.
    """

    def __init__(
        self,
        *,
        domains: int,
        device: torch.device,
        maxima: int = 0,
        world: int = 1,
        counts: bool = True,
    ) -> None:
        self._domains = domains
        self._device = device
        # The layout of the one vector that ranks add up: sums, each rank's maximum, corrupt, leaked
        # and repeated sequences, z-loss, and three words that rank 0 alone fills.
        self._sums = domains * NUM_SUMS
        self._maxima = maxima
        self._words = self._sums + maxima
        self._size = self._words + 2 * domains + 5
        self._world = world
        self._counts = counts
        self._vector = torch.zeros(self._size, dtype=torch.float64, device=device)
        self._digests = self._vector[:0]
        self._losses: list[Tensor] = []
        self._waiting: tuple[int, Tensor, Tensor, int, torch.cuda.Event | None] | None = None

    def begin(self) -> None:
        """Forget the sums of a step that will not be finished."""
        self._vector = torch.zeros_like(self._vector)
        self._digests = self._vector[:0]
        self._losses = []

    def add(self, sums_K5: Tensor, z_nll: Tensor, mean_B: Tensor) -> None:
        """Add one micro-batch."""
        if self._counts:
            self._vector[: self._sums] += sums_K5.flatten()
            self._vector[-4] += z_nll.double()
        self._losses.append(mean_B)

    def hear(self, rank: int, largest: Tensor) -> None:
        """Put this rank's largest attention logit, a scalar, into the vector."""
        if rank < self._maxima:
            self._vector[self._sums + rank] = largest

    def compare(self, rank: int, digests: Tensor) -> None:
        """Put the digests of this rank's state into the vector. Every rank, before the same update.

        Args:
            digests: float64 [DIGEST_HALVES].
        """
        self._digests = self._vector.new_zeros(self._world * DIGEST_HALVES)
        self._digests[rank * DIGEST_HALVES : (rank + 1) * DIGEST_HALVES] = digests

    def call(
        self,
        *,
        corrupt: Sequence[int],
        leaked: Sequence[int],
        repeated: int,
        orders: int,
        loss_limit: float,
        grad_limit: float,
    ) -> Tensor:
        """Put the host's words into the vector; returns it, to be added up over the ranks."""
        read = [*corrupt, *leaked, repeated]
        given = [*(read if self._counts else [0] * len(read)), orders, loss_limit, grad_limit]
        words = torch.tensor(given, dtype=torch.float64)
        if self._device.type == "cuda":
            words = words.pin_memory()
        words = words.to(self._device, non_blocking=True)
        self._vector[self._words : -4] = words[:-3]
        self._vector[-3:] = words[-3:]
        if not len(self._digests):
            return self._vector
        whole = torch.cat((self._vector, self._digests))
        self._vector, self._digests = whole[: self._size], whole[self._size :]
        return whole

    def loss(self) -> Tensor:
        """Mean loss over all tokens, a scalar on the device. After the adding up."""
        sums_K5 = self._vector[: self._sums].view(self._domains, NUM_SUMS)
        return sums_K5[:, 0].sum() / sums_K5[:, 1].sum()

    def limits(self) -> tuple[Tensor, Tensor]:
        """The loss and gradient limits that rank 0 gave, on the device."""
        return self._vector[-2], self._vector[-1]

    def push(
        self, step: int, *, grad_norm: Tensor, layer_norms_G: Tensor, update: Tensor, commit: Tensor
    ) -> None:
        """Start the copy of this step's numbers to the host."""
        scalars = torch.stack((grad_norm.double(), update.double(), commit.double()))
        whole = torch.cat((self._vector, self._digests, layer_norms_G.double(), scalars))
        losses = torch.cat(self._losses).float() if self._losses else whole[:0].float()
        event = None
        if self._device.type == "cuda":
            whole, losses = _to_host(whole), _to_host(losses)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
        self._waiting = (step, whole, losses, len(self._digests), event)
        self.begin()

    @property
    def waits(self) -> bool:
        """Whether a step was pushed and not yet read."""
        return self._waiting is not None

    def read(self) -> Reading:
        """The numbers of the step that was pushed last."""
        assert self._waiting is not None
        step, whole, losses, behind, event = self._waiting
        self._waiting = None
        if event is not None:
            event.synchronize()
        numbers = whole.numpy()
        vector, rest = numbers[: self._size], numbers[self._size :]
        digests, layers = rest[:behind], rest[behind:-3]
        largest = float(vector[self._sums : self._words].max(initial=-np.inf))  # keeps a NaN
        counted = [int(one) for one in vector[self._words : -5]]
        return Reading(
            step=step,
            sums=vector[: self._sums].reshape(self._domains, NUM_SUMS),
            corrupt=tuple(counted[: self._domains]),
            leaked=tuple(counted[self._domains :]),
            repeated=int(vector[-5]),
            z_nll=float(vector[-4]),
            called=int(vector[-3]),
            loss_limit=float(vector[-2]),
            grad_limit=float(vector[-1]),
            grad_norm=float(numbers[-3]),
            layer_norms=tuple(layers.tolist()),
            attention_logit=None if largest == -np.inf else largest,
            update=float(numbers[-2]),
            committed=bool(numbers[-1] == 1.0),
            losses=losses.numpy(),
            digests=digests.reshape(self._world, -1, 2) if behind else None,
        )


class UpdateProbe:
    """Root mean square change of a fixed, evenly spread sample of weights, for any optimizer."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        local = [_local(p) for p in parameters]
        total = sum(p.numel() for p in local)
        stride = max(1, total // PROBE_WEIGHTS)
        self._views = [p.detach().view(-1)[::stride] for p in local if p.is_contiguous()]
        self._before = self._look()

    def mark(self) -> None:
        """Remember the sample before an update."""
        torch.cat(self._views, out=self._before)

    def measure(self) -> Tensor:
        """Root mean square of the change since `mark`, a scalar on the device."""
        return (self._look() - self._before).square().mean().sqrt()

    def _look(self) -> Tensor:
        return torch.cat(self._views)


def _local(parameter: Tensor) -> Tensor:
    to_local = getattr(parameter, "to_local", None)  # a DTensor under FSDP2
    return to_local() if to_local is not None else parameter


def _to_host(tensor: Tensor) -> Tensor:
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)
