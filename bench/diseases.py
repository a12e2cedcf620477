"""Diseases of a training run and their single remedies: the table that bench/remedies.py runs.

A disease is something wrong with the settings, the state or the gradients of a small proxy, from a
step on. A treatment is a plan, as a person or the judge would order it, that holds from a step on; or
another architecture, where that is the cure. Source of each remedy: steadytrain/actions.py.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from steadytrain.actions import (
    BeginDecay,
    ClipAttention,
    LimitUpdates,
    Plan,
    ResetMoments,
    ScaleEpsilon,
    ScaleLearningRate,
    ScaleShallowGradients,
    SetClipping,
    SetZLoss,
)
from steadytrain.lab.model import Config
from steadytrain.lab.train import Parts

PROXY = Config(width=64, layers=4, heads=4, context=64)
"""0.25 million parameters; 240 steps of 16 sequences take about 15 s on a core."""

STEPS, BATCH, ILL, TREATED = 240, 16, 60, 64
"""Steps of a run, sequences of an update, first ill step, and the step after which a treatment holds:
as many steps later as judge and hands need."""

FOR_GOOD = 10**6

Hurt = Callable[[Parts, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Treatment:
    """One remedy alone.

    Attributes:
        plan: actions that hold from their own steps on.
        config: another architecture from the beginning; None: the disease's own.
    """

    plan: tuple[Plan, ...] = ()
    config: Config | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Disease:
    """What is wrong, and what is tried against it.

    Attributes:
        settings, optimizer: of the lab's run and of AdamW's groups, where they differ.
        fault, lasts: kind of `lab.faults` from step ILL on, and for how many steps, where it goes by
            draws.
        before, gradients: called before the forward pass, and after the backward pass.
        watched: what the disease shows in, beside the panel: a field of a step's record.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    fault: str | None = None
    lasts: int | None = None
    before: Hurt | None = None
    gradients: Hurt | None = None
    watched: str = "grad_norm"
    treatments: dict[str, Treatment]


def _huge_gradients(parts: Parts, step: int) -> None:
    """Every twelfth step one tensor's gradient drowns in noise of a hundred times its norm."""
    if step < ILL or step % 12:
        return
    chance = random.Random(step)
    grads = [p.grad for p in parts.bare.parameters() if p.grad is not None and p.dim() == 2]
    grad = chance.choice(grads)
    generator = torch.Generator().manual_seed(step)
    noise = torch.randn(grad.shape, generator=generator).to(grad.device)
    grad.add_(noise, alpha=100.0 * float(grad.norm()) / noise.norm().item())


def _rare_element(parts: Parts, step: int) -> None:
    """Every twelfth step a few elements of one gradient are a thousand times its largest."""
    if step < ILL or step % 12:
        return
    chance = random.Random(step)
    grads = [p.grad for p in parts.bare.parameters() if p.grad is not None and p.dim() == 2]
    flat = chance.choice(grads).view(-1)
    largest = float(flat.abs().max())
    for _ in range(4):
        flat[chance.randrange(flat.numel())] = chance.choice((-1e3, 1e3)) * largest


@torch.no_grad()
def _sharpen(parts: Parts, step: int) -> None:
    """Queries and keys four times larger: attention logits sixteen times."""
    if step == ILL:
        for block in parts.bare.blocks:
            width = parts.bare.config.width
            block.attend.qkv.weight[: 2 * width].mul_(4.0)


def _bursts(parts: Parts, step: int) -> None:
    """Every twelfth step the embedding's gradient is a hundred times too large."""
    grad = parts.bare.embed.weight.grad
    if step >= ILL and step % 12 == 0 and grad is not None:
        grad.mul_(100.0)


def _lower(factor: float, *, hold: int = FOR_GOOD, rewarm: int = 1) -> ScaleLearningRate:
    return ScaleLearningRate(factor=factor, from_step=TREATED, hold_steps=hold, rewarm_steps=rewarm)


def _shallow(reach: float, *, alpha: float = 0.1) -> ScaleShallowGradients:
    return ScaleShallowGradients(
        alpha=alpha, from_step=TREATED, hold_steps=FOR_GOOD, relax_steps=1, reach=reach
    )


ZCLIP = Treatment(plan=(SetClipping(method="zclip", from_step=TREATED),))
ADAGC = Treatment(plan=(SetClipping(method="adagc", from_step=TREATED),))
SPIKES = Treatment(plan=(SetClipping(method="spikes", from_step=TREATED),))
LIMIT = Treatment(plan=(LimitUpdates(from_step=TREATED),))
LIMIT_BEFORE = Treatment(plan=(LimitUpdates(from_step=ILL - 1),))
RESET = Treatment(plan=(ResetMoments(from_step=TREATED),))
RESET_WARM = Treatment(
    plan=(ResetMoments(from_step=TREATED), _lower(0.1, hold=0, rewarm=32)),
)
HALF = Treatment(plan=(_lower(0.5, hold=8, rewarm=32),))
SIXTEENTH = Treatment(plan=(_lower(1 / 16),))
Z_LOSS = Treatment(plan=(SetZLoss(coefficient=1e-4, from_step=TREATED),))
Z_LOSS_10 = Treatment(plan=(SetZLoss(coefficient=1e-3, from_step=TREATED),))
MAX_Z = Treatment(plan=(SetZLoss(coefficient=2e-4, form="max", from_step=TREATED),))
QK_CLIP = Treatment(plan=(ClipAttention(from_step=TREATED),))
QK_CLIP_30 = Treatment(plan=(ClipAttention(from_step=TREATED, threshold=30.0),))
QK_NORM = Treatment(config=replace(PROXY, qk_norm=True))
SOFT_CAP = Treatment(config=replace(PROXY, softcap=30.0))
DECAY = Treatment(plan=(BeginDecay(from_step=TREATED),))
DECAY_LATER = Treatment(plan=(BeginDecay(from_step=120),))

STABILISERS = {
    "z-loss 1e-4": Z_LOSS, "QK-norm": QK_NORM, "QK-clip 100": QK_CLIP, "soft cap 30": SOFT_CAP,
    "embedding x0.1": Treatment(plan=(_shallow(0.0),)), "shallow x0.1": Treatment(plan=(_shallow(1 / 3),)),
    "limit updates": LIMIT, "ZClip": ZCLIP, "AdaGC": ADAGC, "cut spikes": SPIKES,
    "lr x0.5, re-warmed": HALF, "lr / 16 for good": SIXTEENTH, "decay at 64": DECAY,
    "decay at 120": DECAY_LATER,
}  # fmt: skip

DISEASES: dict[str, Disease] = {
    "lr x16": Disease(settings={"peak": 0.064}, watched="update", treatments=STABILISERS),
    "lr x64": Disease(settings={"peak": 0.256}, watched="update", treatments=STABILISERS),
    "lr x250": Disease(settings={"peak": 1.0}, watched="update", treatments=STABILISERS),
    "logits grow": Disease(
        fault="logits", lasts=STEPS - ILL, watched="logsumexp",
        treatments={"z-loss 1e-4": Z_LOSS, "z-loss 1e-3": Z_LOSS_10, "max-z 2e-4": MAX_Z,
                    "soft cap 30": SOFT_CAP},
    ),
    "attention logits grow": Disease(
        before=_sharpen, watched="attention_logit",
        treatments={"QK-clip 100": QK_CLIP, "QK-clip 30": QK_CLIP_30, "QK-norm": QK_NORM,
                    "lr x0.5, re-warmed": HALF},
    ),
    "embedding outbreak": Disease(
        fault="outbreak", lasts=STEPS - ILL,
        treatments={"embedding x0.1": Treatment(plan=(_shallow(0.0),)),
                    "embedding x0.025": Treatment(plan=(_shallow(0.0, alpha=0.025),)),
                    "shallow x0.1": Treatment(plan=(_shallow(1 / 3),)), "ZClip": ZCLIP, "AdaGC": ADAGC,
                    "limit updates": LIMIT},
    ),
    "embedding bursts": Disease(
        gradients=_bursts,
        treatments={"embedding x0.1": Treatment(plan=(_shallow(0.0),)),
                    "shallow x0.1": Treatment(plan=(_shallow(1 / 3),)), "ZClip": ZCLIP, "AdaGC": ADAGC,
                    "cut spikes": SPIKES, "limit updates": LIMIT},
    ),
    "second moments lost": Disease(
        fault="optimizer", watched="update",
        treatments={"reset": RESET, "reset, re-warmed": RESET_WARM, "lr x0.5, re-warmed": HALF,
                    "limit updates": LIMIT, "limit updates, before": LIMIT_BEFORE},
    ),
    "moments reset": Disease(
        fault="adam-reset", watched="update",
        treatments={"reset, re-warmed": RESET_WARM, "lr x0.5, re-warmed": HALF,
                    "limit updates, before": LIMIT_BEFORE},
    ),
    "wrong moments": Disease(
        fault="moments", watched="update",
        treatments={"reset": RESET, "reset, re-warmed": RESET_WARM},
    ),
    "huge gradients": Disease(
        gradients=_huge_gradients,
        treatments={"ZClip": ZCLIP, "AdaGC": ADAGC, "cut spikes": SPIKES, "limit updates": LIMIT},
    ),
    "huge elements": Disease(
        gradients=_rare_element,
        treatments={"ZClip": ZCLIP, "AdaGC": ADAGC, "cut spikes": SPIKES, "limit updates": LIMIT},
    ),
    "epsilon too large": Disease(
        optimizer={"eps": 1e-3}, watched="update",
        treatments={"epsilon / 1e5": Treatment(plan=(ScaleEpsilon(factor=1e-5, from_step=TREATED),))},
    ),
}  # fmt: skip
