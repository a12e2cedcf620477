"""Which tag is what: the total loss, the domains' losses, the gradient norm, and so on.

Every tool spells its tags in its own way (`train/loss`, `lm loss`, `trl`, `loss_metrics/...`), so
tags are compared without case, separators and the words that say "training". What is told from a
tag is shown to the user, and can be overridden.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from steadytrain.errors import LogError

TOTALS = (
    "loss", "lm loss", "train loss", "loss train", "training loss", "global avg loss",
    "loss metrics global avg loss", "ce loss",
    "cross entropy loss", "crossentropyloss", "cross entropy", "languagecrossentropy",
    "loss total", "total loss", "trl", "nll", "lm loss value",
)  # fmt: skip
"""Spellings of the total training loss, in the order of trust."""

GRAD_NORMS = (
    "grad norm", "gradient norm", "grad norm total", "total grad norm", "global grad norm",
    "l2 norm grad global", "gradnorm", "norm", "grad norm value",
)  # fmt: skip
RATES = ("lr", "learning rate", "learning rate 0", "lr group 0", "lr adamw", "lr adam")
SPEEDS = (
    "tokens per second", "tokens per sec", "tokens s", "tps", "tok s", "throughput tokens per sec",
    "device tps", "tokens per sec per gpu", "samples sec",
)  # fmt: skip
LOGITS = ("max attention logit", "max logit", "attention logit", "max attn logit")
SUMS = ("logsumexp", "lse", "log z", "logz")

NO_WORDS = frozenset({"train", "training", "optim", "metrics", "perf", "throughput", "scalars"})
"""Words that tell no signal from another."""

NO_DOMAIN = frozenset(
    {
        "max", "min", "std", "var", "scale", "scaler", "val", "valid", "validation", "eval", "test",
        "ema", "avg", "mean", "smooth", "smoothed", "running", "aux", "auxiliary", "z", "mtp",
        "router", "balance", "balancing", "load", "total", "global", "value", "ppl", "perplexity",
        "gap", "ratio", "count", "log", "weight", "step", "epoch", "final", "best", "reg", "kl",
    }
)  # fmt: skip
"""A loss with one of these in its tag is another quantity, not that of a domain."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Roles:
    """The tag of each role; None where no tag fits.

    Attributes:
        domains: domain -> its tag.
        tokens: domain -> the tag of its tokens per step.
    """

    loss: str | None
    domains: Mapping[str, str]
    tokens: Mapping[str, str]
    grad_norm: str | None = None
    lr: str | None = None
    update: str | None = None
    tokens_per_second: str | None = None
    attention_logit: str | None = None
    logsumexp: str | None = None


ROLES = ("loss", "grad_norm", "lr", "update", "tokens_per_second", "attention_logit", "logsumexp")


def assign(tags: Iterable[str], given: Mapping[str, str] | None = None) -> Roles:
    """Roles of these tags.

    Args:
        given: role or domain -> tag, from the user; a role that is not one of `ROLES` is a domain.

    Raises:
        LogError: a tag that was given is not there, or none is a loss.
    """
    tags = list(tags)
    given = dict(given or {})
    for role, tag in given.items():
        if tag not in tags:
            raise LogError(
                f"There is no series {tag!r} to take as {role!r}. The log has: {_list(tags)}."
            )
    named = {role: given.pop(role) for role in ROLES if role in given}
    found = {
        "loss": _first(tags, TOTALS),
        "grad_norm": _first(tags, GRAD_NORMS),
        "lr": _first(tags, RATES),
        "update": "update" if "update" in tags else None,
        "tokens_per_second": _first(tags, SPEEDS),
        "attention_logit": _first(tags, LOGITS),
        "logsumexp": _first(tags, SUMS),
    }
    found |= named
    taken = {*given.values(), *named.values()}
    domains = {
        name: tag for tag in tags if tag not in taken and tag != found["loss"]
        for name in [_domain(tag)] if name is not None
    } | given  # fmt: skip
    if found["loss"] is None and not domains:
        raise LogError(
            f"No series of this log is a training loss by its name. It has: {_list(tags)}. Say "
            "which one is: --tag loss=NAME."
        )
    tokens = {name: f"tokens/{name}" for name in domains if f"tokens/{name}" in tags}
    return Roles(domains=domains, tokens=tokens, **found)


def _first(tags: list[str], spellings: tuple[str, ...]) -> str | None:
    plain: dict[str, str] = {}
    for tag in tags:
        plain.setdefault(_plain(tag), tag)
        plain.setdefault(_words_of(tag), tag)
    return next((plain[one] for one in spellings if one in plain), None)


def _domain(tag: str) -> str | None:
    """The domain in `loss/zh`, `train/loss_code`, `loss:zh/web`, `zh/loss`; None for other tags."""
    tag = re.sub(r"^(train(ing)?|metrics)[/_. ]", "", tag, flags=re.IGNORECASE)
    match = re.fullmatch(
        r"(?:lm[ _])?loss(?:[/_:. -]+train(?:ing)?)?[/_:. -]+(.+)|(.+?)[/_:. -]+(?:lm[ _])?loss",
        tag, flags=re.IGNORECASE,
    )  # fmt: skip
    if match is None:
        return None
    name = match[1] or match[2]
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    if words & NO_DOMAIN or words <= NO_WORDS:
        return None
    return name


def _words_of(tag: str) -> str:
    """A tag without case, separators, and the words that tell nothing."""
    return " ".join(word for word in _plain(tag).split() if word not in NO_WORDS)


def _plain(tag: str) -> str:
    return " ".join(re.split(r"[^a-z0-9]+", tag.lower())).strip()


def _list(tags: list[str]) -> str:
    shown = ", ".join(tags[:20])
    return f"{shown} and {len(tags) - 20} more" if len(tags) > 20 else shown
