"""Running thresholds that gradients are clipped by; learned at every update, on the device.

A rule is its own configuration. What it has seen is one small float32 tensor, zeros for nothing,
which the run's snapshots and checkpoints keep. The thresholds are learned whether or not a remedy
has switched a rule on, so that they are warm when one does; they are made of norms over all ranks,
so that they are the same on each.

Two flaws of the published rules are not repeated. One norm that is not finite makes ZClip's mean
NaN for ever: here it is not learned, and neither is an update that did not land. And a rule that is
fed only what it lets through never follows a lasting new level: with ZClip the mean moves by at
most sigmas^2 * variance / distance in all. While a rule is idle it learns from values up to a
ceiling that widens with them.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# P parameters.

TINY = 1e-6
"""Keeps a division by a norm or a spread finite. Source: ZClip; torch's own clipping."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ZClip:
    """Clips the global norm of the gradients by its own running mean and spread.

        z = (norm - mean) / (std + 1e-6)
        norm -> mean + sigmas * std / (z / sigmas)   where z > sigmas

    The farther out a norm lies, the closer to the mean it is brought. Mean and variance are those
    of the first `warmup` norms, and then, with n the norm after this clipping:

        mean = keep * mean + (1 - keep) * n
        variance = keep * variance + (1 - keep) * (n - mean)^2

    Attributes:
        warmup: norms seen before anything is clipped.
        keep: weight of the past.
        sigmas: distance from the mean that is clipped. [standard deviations]

    Source: ZClip (Kumar et al. 2025), method and all defaults.
    """

    warmup: int = 25
    keep: float = 0.97
    sigmas: float = 2.5

    def init(self, device: torch.device) -> Tensor:
        """Norms seen, their mean, their variance."""
        return torch.zeros(3, device=device)

    def limit(self, seen: Tensor, norm: Tensor) -> Tensor:
        """What this norm is clipped to; infinite where it is left alone."""
        count, mean, variance = seen.unbind()
        std = variance.sqrt()
        z = (norm - mean) / (std + TINY)
        is_out = (z > self.sigmas) & (count >= self.warmup)
        return torch.where(is_out, mean + self.sigmas**2 * std / z, math.inf)

    def ceiling(self, seen: Tensor) -> Tensor:
        """What an idle rule learns at most: an outlier counts as one of `sigmas`.

        So the spike that a remedy is given for does not widen the band, and a lasting new level is
        followed: each value at the ceiling widens the band by 7 %.
        """
        count, mean, variance = seen.unbind()
        top = torch.add(mean, variance.sqrt() + TINY, alpha=self.sigmas)
        return torch.where(count >= self.warmup, top, math.inf)

    def learn(self, seen: Tensor, norm: Tensor, *, landed: Tensor) -> None:
        """Take in the norm of an update, in place, if `landed` is true."""
        count, mean, variance = seen.unbind()
        is_warm = count >= self.warmup
        new_count = count + 1
        share = torch.where(is_warm, 1 - self.keep, new_count.reciprocal())
        off = norm - mean
        new_mean = torch.addcmul(mean, share, off)
        new_off = norm - new_mean
        # The variance of the first norms grows by (x - old mean)(x - new mean) (Welford 1962).
        square = new_off * torch.where(is_warm, new_off, off)
        new = torch.stack((new_count, new_mean, torch.lerp(variance, square, share)))
        seen.copy_(torch.where(landed, new, seen))


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaGC:
    """Clips each tensor's gradient by its own running norm.

        g -> g * min(1, room * gamma / |g|)

    gamma is the smallest of the first `warmup` norms, and then, with n the norm after clipping:

        gamma = keep * gamma + (1 - keep) * n

    During the warm-up the run's own global limit is what clips (the paper's is 1.0, as the
    Session's is). A tensor whose norm was 0, such as one behind weights that begin at 0, has shown
    nothing: the paper's gamma would be 0 from then on and stop it for ever, here it has none yet.

    Attributes:
        warmup: updates seen before anything is clipped.
        keep: weight of the past.
        room: how far above gamma a norm may lie.
        surge: an idle rule learns norms up to surge * gamma: one outlier moves gamma by 2 %, and a
            lasting level ten times higher is followed within 120 updates.

    Source: AdaGC (Wang et al. 2025), method and defaults; surge: guess.
    """

    warmup: int = 100
    keep: float = 0.98
    room: float = 1.05
    surge: float = 2.0

    def init(self, parameters: int, device: torch.device) -> Tensor:
        """gamma of each parameter, 0 for none yet, and the number of updates seen."""
        return torch.zeros(parameters + 1, device=device)

    def limits(self, seen: Tensor) -> Tensor:
        """The largest norm that each tensor may have [P]; infinite where it is left alone."""
        gamma_P, count = seen[:-1], seen[-1]
        is_known_P = (gamma_P > 0) & (count >= self.warmup)
        return torch.where(is_known_P, self.room * gamma_P, math.inf)

    def ceilings(self, seen: Tensor) -> Tensor:
        """What is learned at most [P]."""
        gamma_P = seen[:-1]
        return torch.where(gamma_P > 0, self.surge * gamma_P, math.inf)

    def learn(self, seen: Tensor, norm_P: Tensor, *, landed: Tensor) -> None:
        """Take in the norms with which an update landed, in place, if `landed` is true."""
        gamma_P, count = seen[:-1], seen[-1]
        later_P = torch.where(
            count >= self.warmup,
            torch.lerp(gamma_P, norm_P, 1 - self.keep),
            torch.minimum(gamma_P, norm_P),
        )
        new_P = torch.where(gamma_P > 0, later_P, norm_P)
        new_P = torch.where(landed & (norm_P > 0), new_P, gamma_P)
        seen.copy_(torch.cat((new_P, (count + landed).view(1))))


class Thresholds:
    """Both rules with what they have seen of a run. Every rank holds the same.

    Args:
        parameters: how many are trained.
    """

    def __init__(self, parameters: int, device: torch.device) -> None:
        self._zclip = ZClip()
        self._adagc = AdaGC()
        self._norm_seen = self._zclip.init(device)
        self._norms_seen = self._adagc.init(parameters, device)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The live tensors under the names that snapshots and checkpoints keep them by."""
        return {"clip.zclip": self._norm_seen, "clip.adagc": self._norms_seen}

    def zclip(self, norm: Tensor) -> Tensor:
        """What ZClip brings the global norm down to; infinite where it leaves it alone."""
        return self._zclip.limit(self._norm_seen, norm)

    def adagc(self, norm_P: Tensor) -> Tensor:
        """What AdaGC multiplies each tensor's gradient by [P]."""
        return (self._adagc.limits(self._norms_seen) / norm_P).clamp(max=1.0)

    def learn(
        self, norm: Tensor, landed_norm_P: Tensor, *, limit: Tensor | None, landed: Tensor
    ) -> None:
        """Take in an update: its global norm before clipping, and each tensor's after.

        Nothing is learned where the norm is not finite or the update did not land.

        Args:
            limit: what ZClip said, if it was in force.
            landed: 1.0 if the update landed, 0.0 if not.
        """
        is_news = (landed > 0) & (norm < math.inf)  # false of NaN too
        if limit is None:
            limit = self._zclip.ceiling(self._norm_seen)
        self._zclip.learn(self._norm_seen, torch.minimum(norm, limit), landed=is_news)
        ceiling_P = self._adagc.ceilings(self._norms_seen)
        self._adagc.learn(self._norms_seen, torch.minimum(landed_norm_P, ceiling_P), landed=is_news)
