"""One update between backward and landing: the same way for a step and for a step made again.

    leave ranks out of the average -> shrink shallow gradients -> norms -> gate's decision -> clip
    -> reset moments -> optimizer -> limit -> learn -> clip attention

What the gate and the record see are norms before clipping. Nothing here waits for the device.
"""

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from steadytrain.train import gradients, moments
from steadytrain.train.average import Average
from steadytrain.train.clipping import Thresholds
from steadytrain.train.gate import Gate
from steadytrain.train.gradients import LayerNorms, Norms, Shrinker
from steadytrain.train.hands import Settings
from steadytrain.train.qkclip import QKClip, reason_not


class Update:
    """Treats the gradients of a model as settings ask, and lets its optimizer's step land.

    Every method: every rank, same order.

    Args:
        clip: the run's own limit of the global norm, None for none. [L2]
        attention: clips attention by what was heard in the forward; None if nobody listens.

    Attributes:
        learned: live tensors of the running thresholds, for the run's state.
        average: of the gradients over the ranks.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        gate: Gate,
        *,
        clip: float | None,
        attention: QKClip | None = None,
    ) -> None:
        self.average = Average(model)
        self._optimizer = optimizer
        self._gate = gate
        self._own_limit = clip
        self._attention = attention
        self._reason_deaf: str | None = "attention is not listened to. Write watch_attention=True."
        if attention is not None:
            self._reason_deaf = reason_not(model)
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._norms = LayerNorms(model)
        self._shrinker = Shrinker(model)
        self._limiter = moments.UpdateLimit(optimizer)
        self._thresholds = Thresholds(len(self._parameters), self._parameters[0].device)
        self.learned = self._thresholds.tensors

    def refused(self) -> dict[str, str]:
        """Name of each action that cannot be carried out here -> why."""
        reasons = {"ExcludeRank": self.average.reason_not(), "ClipAttention": self._reason_deaf}
        return {name: reason for name, reason in reasons.items() if reason is not None}

    def prepare(self, settings: Settings) -> None:
        """Before the backward passes of an update."""
        self.average.leave_out(frozenset(settings.excluded_ranks))

    def measure(self, settings: Settings) -> Norms:
        """Shrink what is to be shrunk; the norms that the gate decides on."""
        for alpha, reach in settings.shrinks:
            self._shrinker.shrink(alpha, reach)
        return self._norms.measure()

    def land(self, norms: Norms, settings: Settings, commit: Tensor) -> None:
        """Clip, and make the optimizer's step if `commit` says so.

        Args:
            norms: what `measure` gave for these gradients.
            commit: 1.0 or 0.0, on the device.
        """
        limit = landed_P = None
        match settings.clipping:
            case None:
                landed_P = norms.tensor_P * self._clip(norms.total)
            case "zclip":
                limit = self._thresholds.zclip(norms.total)
                landed_P = norms.tensor_P * self._clip(norms.total, limit)
            case "adagc":
                landed_P = self._clip_each(norms.tensor_P)
            case "spikes":
                moments.cut_spikes(self._optimizer)
                left = self._norms.measure()
                landed_P = left.tensor_P * self._clip(left.total)
        if settings.resets_moments:
            moments.reset(self._optimizer)
        before = self._limiter.mark() if settings.limits_updates else None
        self._gate.step(commit)
        if before is not None:
            self._limiter.limit(before)
        self._thresholds.learn(norms.total, landed_P, limit=limit, landed=commit)

    def finish(self, settings: Settings, commit: Tensor) -> None:
        """After `land`, when the size of the optimizer's step was measured: clip attention."""
        if self._attention is not None:
            self._attention.after_step(settings.attention_threshold, commit)
            self._attention.begin()

    def drop(self) -> None:
        """Forget what was heard for an update that will not be made."""
        if self._attention is not None:
            self._attention.begin()

    def aside(self) -> contextlib.AbstractContextManager[None]:
        """Updates made in here leave what was heard for the one under way alone."""
        return contextlib.nullcontext() if self._attention is None else self._attention.aside()

    def clippable(self) -> Sequence[Tensor]:
        """Weights that a clip of attention may shrink."""
        return () if self._attention is None else self._attention.weights()

    def _clip(self, norm: Tensor, limit: Tensor | None = None) -> Tensor | float:
        """Clip to the run's own limit and another one; returns the factor."""
        most: Tensor | float | None = self._own_limit
        if limit is not None:
            most = limit if most is None else limit.clamp(max=most)
        if most is None:
            return 1.0
        return gradients.clip(self._parameters, norm, max_norm=most)

    def _clip_each(self, norm_P: Tensor) -> Tensor:
        """Clip each tensor to its threshold, and all to the run's own; returns norms after it."""
        factor_P = self._thresholds.adagc(norm_P)
        if self._own_limit is not None:
            left = torch.linalg.vector_norm(norm_P * factor_P)
            factor_P = factor_P * gradients.factor(left, max_norm=self._own_limit)
        gradients.scale_each(self._parameters, factor_P)
        return norm_P * factor_P
