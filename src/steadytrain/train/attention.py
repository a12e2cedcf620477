"""The largest attention logit of each layer and head, measured without the model's help.

While the model's forward runs in training, every call of `scaled_dot_product_attention` and of
torch's own multi-head attention is heard (`hearing.py`), with queries and keys as they are used:
rotated, normalised, scaled. Of some sequences, a few evenly spread queries are compared with all
the keys that they may see. Each logit is exact; the largest of them is a lower bound of the largest
of all. Calls of one shape are looked at together, or the many small layers of a model would cost a
dozen operations each.

Nothing here waits for the device, but for one comparison in the first forward of a run that shows
which rows of the weights belong to which head (`heads.py`).
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn import functional as F
from torch.utils._python_dispatch import _disable_current_modes, is_in_torch_dispatch_mode

from steadytrain.errors import SettingError
from steadytrain.train.heads import Layout, Site, find_sites, multihead_layout, read_layout
from steadytrain.train.hearing import Ear
from steadytrain.train.logits import (
    QUERIES,
    SEQUENCES,
    head_maxima,
    head_maxima_of_calls,
    hidden_keys,
    picked,
    seen_keys,
)

# B sequences, T and K positions of queries and keys, H query heads, G key heads, D width of a head.

ELSEWHERE = "attention"
"""Name of the attention in modules that no name is known for."""

MOST_KEPT = 64 << 20
"""Bytes of queries and keys that wait to be looked at together. Autograd holds them as long anyway,
but in a checkpointed layer. Source: guess; larger tensors are worth an operation of their own."""


class AttentionProbe:
    """Listens to a model's attention while it trains.

    Why only some queries: 16 of them against all keys cost 16 / T of the Q K^T of a few sequences;
    evenly spread, since a query late in a sequence sees more keys. Passes without
    gradients (a panel, an examination) and the recomputation of checkpointed layers are not heard.

    Args:
        model: as it is called in training; in DDP, or sharded by `fully_shard`, or bare.
        queries, sequences: how many are looked at in each call, at most.

    Raises:
        SettingError: no query or no sequence is to be looked at.

    Source: the largest attention logit as the sign before a divergence: Dehghani et al. 2023
    (ViT-22B), Wortsman et al. 2023 (figure 1), Kimi K2 (QK-clip).
    """

    def __init__(
        self, model: nn.Module, *, queries: int = QUERIES, sequences: int = SEQUENCES
    ) -> None:
        for name, value in (("queries", queries), ("sequences", sequences)):
            if value < 1:
                raise SettingError(
                    f"{name}={value} would leave no attention logit to look at. Write {name}=1 or "
                    f"more; {QUERIES} queries of {SEQUENCES} sequences are usual."
                )
        self.sites = find_sites(model)
        self.layouts: dict[str, Layout | str] = {}
        self._model = model
        self._queries = queries
        self._sequences = sequences
        self._ear = Ear(self._hear_attention, self._hear_multihead)
        self._is_listening = False
        self._has_called = False
        self._is_compiled: bool | None = None
        self._stack: list[str] = []
        self._found: dict[tuple[str, int], Tensor] = {}
        self._calls: list[_Call] = []
        self._bytes = 0
        self._places: set[str] = set()
        self._made: dict[nn.Module, Tensor] = {}
        self._hooks: list[Any] = []
        self._temporary: list[Any] = []
        self._listen()

    def begin(self) -> None:
        """Forget what was heard since the last update."""
        self._found = {}

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Passes in here are heard on their own; what was heard before is there again after it."""
        kept, self._found = self._found, {}
        try:
            yield
        finally:
            self._found = kept

    def note(self, logits_BHTK: Tensor) -> None:
        """Tell of logits that were computed by hand, in a model that calls no attention of torch.

        Call it in the attention's forward, after the scale and the mask (hidden keys at -inf), or
        before the mask if it is causal and nothing is beyond the largest logit that counts.
        """
        if not self._is_listening or torch.compiler.is_compiling():
            return
        with torch.no_grad(), _disable_current_modes():
            self._keep(
                self._place(logits_BHTK.shape[1]), logits_BHTK.detach().float().amax((0, 2, 3))
            )

    def largest(self, device: torch.device) -> Tensor:
        """The largest logit since `begin`, a float64 scalar on the device; -inf if none was heard,
        NaN if one is not a number."""
        if not self._found:
            return torch.full((), -torch.inf, dtype=torch.float64, device=device)
        return torch.cat(list(self._found.values())).amax().double()

    def heads(self, site: str, count: int) -> Tensor | None:
        """The largest logit of each head [H] of a site since `begin`."""
        return self._found.get((site, count))

    def places(self) -> set[str]:
        """Where attention has been heard at all."""
        return self._places

    def why_blind(self) -> str | None:
        """Why nothing can be heard of this model, in words; None if it was heard, or may be yet."""
        if is_compiled(self._model):
            return (
                "the model is compiled by torch.compile, which traces its attention once and does "
                "not call it again; to listen in would compile it twice. Call "
                "AttentionProbe.note(logits) outside the compiled part, or leave it unwatched"
            )
        if self._has_called and not self._places:
            return (
                "the model calls neither scaled_dot_product_attention nor nn.MultiheadAttention "
                "while it trains: its attention is a kernel of its own or a plain softmax. Call "
                "AttentionProbe.note(logits_BHTK) where it computes them"
            )
        return None

    def close(self) -> None:
        """Leave the model as it was."""
        for hook in (*self._hooks, *self._temporary):
            hook.remove()
        self._hooks, self._temporary = [], []

    def _listen(self) -> None:
        self._hooks += [
            self._model.register_forward_pre_hook(self._enter),
            self._model.register_forward_hook(self._leave, always_call=True),
        ]
        for site in self.sites:
            enter, leave = _entering(self, site.name)
            self._hooks += [
                site.module.register_forward_pre_hook(enter),
                site.module.register_forward_hook(leave, always_call=True),
            ]
            if site.form != "multihead":
                for owner in _owners(site):
                    self._temporary.append(owner.register_forward_hook(self._remember))

    def _enter(self, _: nn.Module, __: Any) -> None:
        if torch.compiler.is_compiling() or self._is_listening:
            return
        if self._is_compiled is None:
            self._is_compiled = is_compiled(self._model)
        # A checkpointed layer runs without gradients inside of a forward that has them.
        if torch.is_grad_enabled() and self._model.training and not self._is_compiled:
            self._is_listening = self._has_called = True
            self._ear.begin()

    def _leave(self, _: nn.Module, __: Any, ___: Any) -> None:
        if not torch.compiler.is_compiling() and self._is_listening:
            self._ear.end()
            self._is_listening = False
            self._stack, self._made = [], {}
            self._look()
            if self._places:  # seen once is enough
                for hook in self._temporary:
                    hook.remove()
                self._temporary = []

    def _remember(self, module: nn.Module, _: Any, made: Any) -> None:
        if not torch.compiler.is_compiling() and self._is_listening and isinstance(made, Tensor):
            self._made[module] = made.detach()

    def _hear_attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> None:
        q_BHTD, k_BGKD = _local(query), _local(key)
        if not _is_plain(q_BHTD, 4) or not _is_plain(k_BGKD, 4):
            return
        if self._temporary and self._stack and self._stack[-1] not in self.layouts:
            with _apart(q_BHTD.device):
                self._survey(query.detach(), key.detach())
        if attn_mask is None:
            self._put_by(q_BHTD, k_BGKD, is_causal=is_causal, scale=scale)
            return
        with _apart(q_BHTD.device):
            largest_H = head_maxima(
                q_BHTD, k_BGKD, allowed=seen_keys(_local(attn_mask)),
                is_causal=is_causal, scale=scale,
                queries=self._queries, sequences=self._sequences,
            )  # fmt: skip
            self._keep(self._place(len(largest_H)), largest_H)

    def _put_by(
        self, q_BHTD: Tensor, k_BGKD: Tensor, *, is_causal: bool, scale: float | None
    ) -> None:
        """Keep a call until it is looked at with others of its shape.

        Nothing can change it meanwhile: autograd would refuse to go back through it.
        """
        shape = _Shape(q_BHTD.shape, k_BGKD.shape, q_BHTD.dtype, q_BHTD.device, is_causal, scale)
        if self._calls and self._calls[0].shape != shape:
            self._look()
        with _apart(q_BHTD.device):
            q, k = picked(q_BHTD, k_BGKD, queries=self._queries, sequences=self._sequences)
        self._calls.append(_Call(shape, self._place(q_BHTD.shape[1]), q, k))
        self._bytes += q.untyped_storage().nbytes() + k.untyped_storage().nbytes()
        if self._bytes > MOST_KEPT or not torch.is_grad_enabled() or not self._is_listening:
            self._look()

    def _look(self) -> None:
        """Look at the calls that were put by."""
        calls, self._calls, self._bytes = self._calls, [], 0
        if not calls:
            return
        shape = calls[0].shape
        with _apart(shape.device):
            largest_CH = head_maxima_of_calls(
                [(one.q_SHQD, one.k_SGKD) for one in calls],
                length=shape.query[2], is_causal=shape.is_causal, scale=shape.scale,
                queries=self._queries,
            )  # fmt: skip
            for one, largest_H in zip(calls, largest_CH.unbind(), strict=True):
                self._keep(one.place, largest_H)

    def _hear_multihead(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        embed: int,
        heads: int,
        weight: Tensor | None,
        bias: Tensor | None,
        *rest: Any,
        attn_mask: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        use_separate_proj_weight: bool = False,
        q_proj_weight: Tensor | None = None,
        k_proj_weight: Tensor | None = None,
        **_: Any,
    ) -> None:
        """What nn.MultiheadAttention computes, for the sequences that are looked at."""
        if not _is_plain(query, 3) or not _is_plain(key, 3):  # positions first
            return
        if use_separate_proj_weight or weight is None:
            weights = q_proj_weight, k_proj_weight
        else:
            weights = weight.chunk(3)[0], weight.chunk(3)[1]
        biases = (None, None) if bias is None else (bias.chunk(3)[0], bias.chunk(3)[1])
        some = min(self._sequences, query.shape[1])
        allowed = None if attn_mask is None else ~hidden_keys(attn_mask)
        if allowed is not None and allowed.dim() == 3:
            allowed = allowed.view(query.shape[1], heads, *allowed.shape[1:])
        if key_padding_mask is not None:
            present = ~hidden_keys(key_padding_mask)[:, None, None]
            allowed = present if allowed is None else allowed & present
        with _apart(query.device):
            made = [
                F.linear(x[:, :some].float(), w.float(), None if b is None else b.float())
                .reshape(len(x), some, heads, -1)
                .permute(1, 2, 0, 3)
                for x, w, b in zip((query, key), weights, biases, strict=True)
                if w is not None
            ]
            largest_H = head_maxima(*made, allowed=allowed, queries=self._queries, sequences=some)
            self._keep(self._place(heads), largest_H)
        if self._stack and self._stack[-1] not in self.layouts:
            self.layouts[self._stack[-1]] = multihead_layout(heads, embed)

    def _place(self, heads: int) -> tuple[str, int]:
        """Where a call is made from."""
        return self._stack[-1] if self._stack else ELSEWHERE, heads

    def _keep(self, place: tuple[str, int], largest_H: Tensor) -> None:
        self._places.add(place[0])
        before = self._found.get(place)
        self._found[place] = largest_H if before is None else torch.maximum(before, largest_H)

    def _survey(self, q_BHTD: Tensor, k_BGKD: Tensor) -> None:
        """Once for each site: which rows are whose."""
        site = next(one for one in self.sites if one.name == self._stack[-1])
        made = [self._made.pop(owner) for owner in _owners(site) if owner in self._made]
        if not made or site.has_norm:
            return
        if any(isinstance(one, DTensor) for one in (*made, q_BHTD, k_BGKD)):
            self.layouts[site.name] = (
                f"{site.name} is sharded by heads over a mesh (tensor parallelism), where this rank"
                " sees some of the heads only"
            )
            return
        self.layouts[site.name] = read_layout(site, q_BHTD, k_BGKD, (made[0], made[-1]))


def is_compiled(model: nn.Module) -> bool:
    """Whether torch.compile has been asked to trace the model or a part of it."""
    return any(
        type(module).__name__ == "OptimizedModule"
        or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )


class _Shape(NamedTuple):
    """What calls that are looked at together have in common."""

    query: torch.Size
    key: torch.Size
    dtype: torch.dtype
    device: torch.device
    is_causal: bool
    scale: float | None


class _Call(NamedTuple):
    """A call that was put by: where it was made, and what will be looked at."""

    shape: _Shape
    place: tuple[str, int]
    q_SHQD: Tensor
    k_SGKD: Tensor


def _entering(probe: AttentionProbe, name: str) -> tuple[Callable[..., None], Callable[..., None]]:
    """Hooks that say in which attention module a call is made: the innermost one is on top."""

    def enter(_: nn.Module, __: Any) -> None:
        if not torch.compiler.is_compiling() and probe._is_listening:
            probe._stack.append(name)

    def leave(_: nn.Module, __: Any, ___: Any) -> None:
        if not torch.compiler.is_compiling() and probe._stack and probe._stack[-1] == name:
            probe._stack.pop()

    return enter, leave


def _owners(site: Site) -> tuple[nn.Module, ...]:
    """What makes queries and keys: two modules, or one."""
    return tuple(dict.fromkeys((site.query.owner, site.key.owner)))


def _apart(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """No gradients, no autocast, and unseen by what watches the operations.

    Selective checkpointing counts them, and would hand out the probe's products for the model's.
    """
    if torch.is_autocast_enabled(device.type) or is_in_torch_dispatch_mode():
        return _far_apart(device)
    return torch.no_grad()  # the usual case, which many small layers pay for


@contextlib.contextmanager
def _far_apart(device: torch.device) -> Iterator[None]:
    with (
        torch.no_grad(),
        torch.autocast(device.type, enabled=False),
        _disable_current_modes(),
    ):
        yield


def _local(tensor: Tensor) -> Tensor:
    """This rank's heads of a tensor that is sharded over a mesh."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _is_plain(tensor: Tensor, dims: int) -> bool:
    """Not of a kind that only looks like numbers: nested, fake, traced."""
    return type(tensor) in (Tensor, nn.Parameter) and tensor.dim() == dims and tensor.numel() > 0
