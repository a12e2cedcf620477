"""QK-clip: after an update, heads whose logits are too large get smaller queries and keys.

For a head with largest logit S > tau, gamma = tau / S, and its logits are multiplied by gamma. The
query's rows of the weight and the key's rows share the factor, sqrt(gamma) each. Where several
query heads read one key head, the key takes what they all need (the square root of the largest
gamma among them) and each query the rest, gamma / sqrt(largest): every head's logits land on
min(S, tau), no head's fall without need, and no weight grows. With a head of the group that needs
nothing, the key stays as it is and the queries take all.

Source: Kimi K2, section 2.1 (per head; its shared rotary key is left alone for the same reason);
Megatron-LM (qk_clip_alpha 0.5, qk_clip_threshold 100), which scales a whole group by the largest
logit in it, and so heads that did not need it.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Replicate

from steadytrain.errors import SettingError
from steadytrain.train.attention import AttentionProbe, is_compiled
from steadytrain.train.heads import Layout, Part, Site, find_sites
from steadytrain.train.ranks import Ranks

# H query heads, G key heads, N = H / G, R rows of a weight.

THRESHOLD = 100.0


class QKClip:
    """Scales queries and keys by the logits that a probe heard in the forward of this update.

    The logits heard are a lower bound of the largest, so a head may stay above the threshold by
    what the probe did not look at (`logits.SEQUENCES` says how much that is).

    Args:
        probe: listens to the model whose weights are scaled.
        ranks: different ranks heard different sequences. While a clip is in force, the heads'
            largest logits are reduced by one more small collective a step, by maximum.
        say: is told, once, if the model turns out not to allow it.
    """

    def __init__(
        self, probe: AttentionProbe, ranks: Ranks, *, say: Callable[[str], None] | None = None
    ) -> None:
        self._probe = probe
        self._ranks = ranks
        self._say = say
        self._plan: tuple[_Target, ...] | None = None
        self._refusal: str | None = None

    def after_step(self, threshold: float | None, commit: Tensor) -> None:
        """Clip after an optimizer's step. Every rank, same order; does not wait for the device,
        except in its first call.

        Args:
            threshold: tau; None if no clip is in force.
            commit: 0.0 if the update was held back: then nothing is scaled either.

        Raises:
            SettingError: a threshold that is no logit.
        """
        if threshold is None:
            return
        if not threshold > 0:
            raise SettingError(
                f"threshold={threshold} would scale every query and key to nothing. Write "
                f"ClipAttention(threshold={THRESHOLD:g}) (Kimi K2, Megatron)."
            )
        if self._plan is None:
            self._plan = self._agree(commit.device)
        if self._plan:
            self._scale(self._plan, threshold, commit)

    def begin(self) -> None:
        """Forget what was heard for the last update."""
        self._probe.begin()

    def aside(self) -> contextlib.AbstractContextManager[None]:
        """Updates made in here are clipped by what is heard in here."""
        return self._probe.aside()

    def weights(self) -> list[Tensor]:
        """What a clip may have made smaller: weights and biases of queries and keys."""
        parts = {one for site in self._probe.sites for one in (site.query, site.key)}
        return [one for part in parts for one in part.tensors if one is not None]

    @property
    def refusal(self) -> str | None:
        """Why nothing was clipped though it was asked for, in words."""
        return self._refusal

    @torch.no_grad()
    def _scale(self, plan: tuple["_Target", ...], threshold: float, commit: Tensor) -> None:
        found = [self._heard(one, commit.device) for one in plan]
        largest = torch.cat(found)
        if self._ranks.world > 1:
            dist.all_reduce(largest, op=dist.ReduceOp.MAX)
        is_over = (largest > threshold) & torch.isfinite(largest) & (commit > 0)
        gamma = torch.where(is_over, threshold / largest, 1.0)
        for one, gamma_H in zip(plan, torch.split(gamma, [one.heads for one in plan]), strict=True):
            query_H, key_G = shares(gamma_H, groups=one.groups)
            factors = torch.cat((torch.ones_like(query_H[:1]), query_H, key_G))
            for part, index_R in one.parts:
                _multiply(part, factors[index_R])

    def _heard(self, target: "_Target", device: torch.device) -> Tensor:
        heard_H = self._probe.heads(target.name, target.heads)
        if heard_H is None:  # not called in this step
            return torch.full((target.heads,), -torch.inf, device=device)
        # A maximum over ranks with a NaN in it is not defined; the gate holds such an update back.
        return torch.nan_to_num(heard_H, nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)

    def _agree(self, device: torch.device) -> tuple["_Target", ...]:
        """What all ranks can clip alike, or nothing."""
        mine = reason_not_heard(self._probe)
        layouts = dict(sorted(self._probe.layouts.items()))
        both = self._ranks.gather((mine, layouts))
        reasons = [reason for reason, _ in both if reason is not None]
        if not reasons and any(other != layouts for _, other in both):
            reasons = ["the ranks do not see the same attention"]
        if reasons:
            self._refusal = f"attention is not clipped: {reasons[0]}."
            if self._say is not None and self._ranks.rank == 0:
                self._say(self._refusal)
            return ()
        return tuple(
            _target(site, layout, device)
            for site in self._probe.sites
            if isinstance(layout := layouts.get(site.name), Layout)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Target:
    """An attention whose heads can be scaled.

    Attributes:
        parts: each weight with, for each of its rows, the place of its factor in
            [1, query heads, key heads].
    """

    name: str
    heads: int
    groups: int
    parts: tuple[tuple[Part, Tensor], ...]


def _target(site: Site, layout: Layout, device: torch.device) -> _Target:
    heads, groups = len(layout.query_H), len(layout.key_G)
    query, key = [0] * layout.query_blocks, [0] * layout.key_blocks
    if site.query == site.key:
        key = query
    for number, block in enumerate(layout.query_H):
        query[block] = 1 + number
    for number, block in enumerate(layout.key_G):
        key[block] = 1 + heads + number
    parts = {site.query: query, site.key: key}
    return _Target(
        name=site.name,
        heads=heads,
        groups=groups,
        parts=tuple(
            (part, torch.tensor(places, device=device).repeat_interleave(layout.width))
            for part, places in parts.items()
        ),
    )


def shares(gamma_H: Tensor, *, groups: int) -> tuple[Tensor, Tensor]:
    """What each query head [H] and each key head [G] is multiplied by, so that the logits of head h
    are multiplied by gamma[h].

    >>> query, key = shares(torch.tensor([0.25, 0.16, 0.5, 1.0]), groups=2)
    >>> query, key
    (tensor([0.5000, 0.3200, 0.5000, 1.0000]), tensor([0.5000, 1.0000]))
    """
    gamma_GN = gamma_H.view(groups, -1)
    key_G = gamma_GN.amax(1).sqrt()
    return (gamma_GN / key_G[:, None]).flatten(), key_G


def reason_not(model: nn.Module) -> str | None:
    """Why QK-clip cannot be used on this model, in words; None if nothing speaks against it.

    What only a forward pass can show (how a fused weight is laid out) is said by `QKClip.refusal`
    when it is used.
    """
    if is_compiled(model):
        return "the model is compiled, so its attention logits cannot be heard"
    sites = find_sites(model)
    if not sites:
        return (
            "no module has queries and keys under a known name (q_proj and k_proj, wq and wk, qkv, "
            "c_attn, query_key_value, nn.MultiheadAttention ...), so the rows of a head are not "
            "known"
        )
    return next((_norm_words(site) for site in sites if site.has_norm), None)


def reason_not_heard(probe: AttentionProbe) -> str | None:
    """The same, by what a probe has heard since the run began."""
    blind = probe.why_blind()
    if blind is not None:
        return blind
    refused = [_norm_words(site) for site in probe.sites if site.has_norm]
    refused += [layout for layout in probe.layouts.values() if isinstance(layout, str)]
    unknown = probe.places() - probe.layouts.keys()
    refused += [f"the rows of the heads in {name!r} are not known" for name in sorted(unknown)]
    return refused[0] if refused else None


def _norm_words(site: Site) -> str:
    return (
        f"{site.name or 'the model'} normalises its queries and keys, which undoes whatever is done"
        " to their weights, and bounds the logits by itself; a smaller weight of that norm is what "
        "would lower them"
    )


def _multiply(part: Part, factor_R: Tensor) -> None:
    """Multiply the rows of a weight, and its bias, in place."""
    weight, bias = part.tensors
    is_last = part.has_rows_last(len(factor_R))
    shaped = factor_R[None] if is_last else factor_R[:, None]
    weight.mul_(_like(weight, shaped.to(weight.dtype)))
    if bias is not None:
        bias.mul_(_like(bias, factor_R.to(bias.dtype)))


def _like(tensor: Tensor, factor: Tensor) -> Tensor:
    """A factor that every rank knows, spread as a sharded tensor is: no rank sends anything."""
    if not isinstance(tensor, DTensor):
        return factor
    mesh = tensor.device_mesh
    return DTensor.from_local(factor, mesh, [Replicate()] * mesh.ndim, run_check=False)
