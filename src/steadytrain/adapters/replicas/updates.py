"""One update of one rank under the gate, in the four moments that a vote between replicas needs.

backward (each micro-batch) -> weigh -> vote, which is torchft's -> land or discard
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from steadytrain.judge.state import Limits
from steadytrain.train.feed import Batch
from steadytrain.train.gate import Gate
from steadytrain.train.gradients import Norms
from steadytrain.train.hands import Dials, Settings
from steadytrain.train.losses import add_z_loss, batch_sums, mean_loss
from steadytrain.train.records import Pass
from steadytrain.train.schedule import Schedule
from steadytrain.train.tap import Reading, Tap, UpdateProbe
from steadytrain.train.update import Update

NO_SETTINGS = Settings()
"""What remedies ask of an update: nothing, since none can be carried out here."""


class Updates:
    """Makes the updates of a model. Every rank of every replica, same order.

    Args:
        clip: global gradient norm limit, None for none. [L2]
        domains: how many the data has.

    Attributes:
        learned: live tensors of running thresholds, for the run's state.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        schedule: Schedule | None,
        clip: float | None,
        z_loss: float,
        domains: int,
    ) -> None:
        parameters = [p for p in model.parameters() if p.requires_grad]
        device = parameters[0].device
        self._optimizer = optimizer
        self._domains = domains
        self._dials = Dials(optimizer, schedule, z_loss=z_loss)
        self._gate = Gate(optimizer, device)
        self._making = Update(model, optimizer, self._gate, clip=clip)
        self.learned: Mapping[str, Tensor] = self._making.learned
        self._tap = Tap(domains=domains, device=device)
        self._probe = UpdateProbe(parameters)
        self._weighed: tuple[Norms, Tensor] | None = None
        self._planned = 0.0

    def backward(
        self, nll_BT: Tensor, batch: Batch, *, weight: float, z_BT: Tensor | None
    ) -> Tensor:
        """Gradients of weight * mean loss, and the sums of a batch that counts.

        Returns the mean cross-entropy, detached. [nats/token]
        """
        mean = mean_loss(nll_BT, batch.counted_BT)
        z_loss = self._dials.z_loss(NO_SETTINGS)
        objective = add_z_loss(mean, batch.counted_BT, z_loss, z_BT=z_BT, largest_BT=None)
        (objective * weight).backward()  # type: ignore[no-untyped-call]
        if weight:
            self._tap.add(*batch_sums(nll_BT, batch, z_BT=z_BT, domains=self._domains))
        return mean.detach()

    def weigh(
        self, number: int, limits: Limits | None, *, add_up: Callable[[Tensor], None]
    ) -> None:
        """Come to the gate's decision, from gradients that are averaged already.

        Args:
            limits: of the one replica whose limits hold; None on all other ranks.
            add_up: sums a small vector over all ranks of all replicas, in place.
        """
        self._planned = self._dials.set(number, NO_SETTINGS)
        zeros = [0] * self._domains
        vector = self._tap.call(
            corrupt=zeros,
            leaked=zeros,
            repeated=0,
            orders=0,
            loss_limit=0.0 if limits is None else _or_infinite(limits.loss),
            grad_limit=0.0 if limits is None else _or_infinite(limits.grad_norm),
        )
        add_up(vector)
        loss_limit, grad_limit = self._tap.limits()
        norms = self._making.measure(NO_SETTINGS)
        commit = self._gate.decide(
            self._tap.loss(), norms.total, loss_limit=loss_limit, grad_limit=grad_limit
        )
        self._weighed = norms, commit

    def land(self, number: int) -> Reading:
        """The vote says that the numbers are complete: step, if the gate lets it; then read them.

        Waits for the device, as the vote has done.
        """
        assert self._weighed is not None
        norms, commit = self._weighed
        self._probe.mark()
        self._making.land(norms, NO_SETTINGS, commit)
        update = self._probe.measure()
        self._optimizer.zero_grad(set_to_none=True)
        self._tap.push(
            number,
            grad_norm=norms.total,
            layer_norms_G=norms.group_G,
            update=update,
            commit=commit,
        )
        return self._tap.read()

    def discard(self) -> None:
        """The vote says no: nothing of this update has landed or is remembered."""
        self._optimizer.zero_grad(set_to_none=True)
        self._dials.release()
        self._tap.begin()

    def passed(
        self, batches: list[Batch], *, attempt: int, step: int, draw: int, end: int, seconds: float
    ) -> Pass:
        """What the host knows of the update that has landed; puts the user's own rate back.

        Args:
            batches: this rank's, without those that do not count.
            draw, end: span of draws over all replicas.
            seconds: since the update before.
        """
        return Pass(
            attempt=attempt,
            step=step,
            draw=draw,
            draw_end=end,
            draws=tuple(one for batch in batches for one in batch.draws),
            domains=tuple(one for batch in batches for one in batch.domains),
            digests=(),
            defects=(),
            lr=self._dials.release(),
            lr_planned=self._planned,
            z_loss=self._dials.z_loss(NO_SETTINGS).logsumexp,
            seconds=seconds,
        )


def _or_infinite(limit: float | None) -> float:
    return math.inf if limit is None else limit
