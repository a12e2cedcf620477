"""What other tools do when a run goes wrong, each as a plain training loop over the lab's model.

Every policy hears the loss and the gradient norm of each update before it lands and gives one
verdict. Everything else is the same for all of them, and for the guarded run: model, data order,
faults, AdamW, clipping at a norm of 1, learning rates. The loop sets learning rate and epsilon before
each update, as the guarded one does, so a fault in them lasts as long for all.

Used by bench/cures.py and bench/remedies.py.
"""

import copy
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

import peers
from steadytrain.lab.train import Parts
from steadytrain.ranges import Ranges, merge, size
from steadytrain.train import Ranks
from steadytrain.train.losses import sequence_sums, token_losses

CLIP = 1.0
EPSILON = 1e-8
SAVE_EVERY = 10
"""Steps between states that a person can go back to: the guarded run keeps as many."""

PALM_BACK, PALM_SKIP = 20, 70
"""PaLM (Chowdhery et al. 2022, section 5.1) went back about 100 steps and skipped 200 to 500 batches.
A fifth of both, for runs of 500 steps: taken as it is, the recipe would throw a fifth of the run away.
70 is a fifth of the middle of 200 to 500; the batches skipped begin where the run goes on."""

SEEN_RISE, SEEN_OF = 0.25, 10
"""A person sees a loss a quarter above the mean of the last 10. Lightning's rule asks for three times
that mean and llm-foundry's for twice the mean of 100, five times in a row: on the public curves
neither sees any of 60 real instabilities, so the person is given sharper eyes than any program."""

MOST_RESTARTS = 10
"""Then the person gives the run up. Source: guess; OPT-175B took about 40 in two months."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What becomes of an update.

    Attributes:
        does: it lands; it changes nothing; the run ends here; the run goes back.
        limit: the norm that gradients are clipped to.
        back, skip: steps to go back before this one, and batches to leave out from there on.
        is_act: whether the policy did something that a run without it would not have done.
    """

    does: Literal["land", "hold", "stop", "back"] = "land"
    limit: float = CLIP
    back: int = 0
    skip: int = 0
    is_act: bool = False


LAND = Verdict()


class Policy(Protocol):
    """Hears every update of a run before it lands."""

    def decide(self, step: int, loss: float, norm: float) -> Verdict: ...


class NoGuard:
    """Whatever comes, lands."""

    def decide(self, step: int, loss: float, norm: float) -> Verdict:
        return LAND


class KillNonFinite:
    """The process ends at the first loss or gradient norm that is not finite.

    Source: torchtitan, which asserts on the device and dies (#4226); to skip such an update was
    declined (#916).
    """

    def decide(self, step: int, loss: float, norm: float) -> Verdict:
        if math.isfinite(loss) and math.isfinite(norm):
            return LAND
        return Verdict(does="stop", is_act=True)


class SkipStep:
    """An update whose loss or norm is 6 deviations above the mean of the 128 before does not land.

    A loss that is not finite ends the run, as OLMo-core's trainer does before its optimizer is
    asked; a norm that is not finite poisons the window, as there.
    Source: OLMo-core, src/olmo_core/optim/skip_step_optimizer.py (see `peers.SixSigma`) and
    src/olmo_core/train/trainer.py.
    """

    def __init__(self) -> None:
        self._rule = peers.SixSigma(monitors=False, with_norm=True)

    def decide(self, step: int, loss: float, norm: float) -> Verdict:
        if not math.isfinite(loss):
            return Verdict(does="stop", is_act=True)
        is_spike = self._rule.update(step, loss, norm) is not None
        return Verdict(does="hold", is_act=True) if is_spike else LAND


class ZClip:
    """A norm more than 2.5 deviations above its moving average is clipped to within them.

    To mean + 2.5 std / (z / 2.5): the further out, the harder. The limit of 1 holds as well.
    Source: github.com/bluorion-com/ZClip, zclip.py, mode zscore (see `peers.ZClip`).
    """

    def __init__(self) -> None:
        self._rule = peers.ZClip(on_norm=True)

    def decide(self, step: int, loss: float, norm: float) -> Verdict:
        mean, deviation = self._rule.mean, math.sqrt(max(self._rule.variance, 0.0))
        if self._rule.update(step, loss, norm) is None:
            return LAND
        z = (norm - mean) / (deviation + 1e-6)
        limit = min(CLIP, mean + 2.5 * deviation / (z / 2.5))
        return Verdict(limit=limit, is_act=limit < min(CLIP, norm))


class PalmByHand:
    """A person who watches the loss goes back some steps and skips some batches.

    Source: PaLM, section 5.1; constants above.
    """

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=SEEN_OF)
        self._restarts = 0

    def decide(self, step: int, loss: float, norm: float) -> Verdict:
        is_high = len(self._last) == SEEN_OF and loss > (1 + SEEN_RISE) * (
            sum(self._last) / SEEN_OF
        )
        if math.isfinite(loss) and not is_high:
            self._last.append(loss)
            return LAND
        self._last.clear()
        self._restarts += 1
        if self._restarts > MOST_RESTARTS:
            return Verdict(does="stop", is_act=True)
        return Verdict(does="back", back=PALM_BACK, skip=PALM_SKIP, is_act=True)


POLICIES: dict[str, Callable[[], Policy]] = {
    "no guard": NoGuard,
    "kill": KillNonFinite,
    "skip 6 sigma": SkipStep,
    "ZClip": ZClip,
    "PaLM by hand": PalmByHand,
}
NEEDS_PERSON = ("kill", "PaLM by hand")
"""Policies whose acts are a person's, or wait for one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """What became of a run.

    Attributes:
        reached: steps of the branch that it ended on.
        made: updates computed, thrown away or not.
        landed: updates that are in the final weights.
        acts: things that the policy did.
        left_out: draws that were skipped.
        losses, norms: of every update computed, in order.
        nll: final loss per token of the panel, by domain; None if the run did not end.
    """

    reached: int
    made: int
    landed: int
    acts: int
    left_out: int
    is_finite: bool
    losses: tuple[float, ...]
    norms: tuple[float, ...]
    nll: tuple[float, ...] | None


class Loop:
    """A plain training loop under a policy.

    Args:
        each: called after every update that landed, with its number; for measuring.
        before: called with the step's number before its gradients are clipped; for a remedy.
    """

    def __init__(
        self,
        parts: Parts,
        policy: Policy,
        ranks: Ranks,
        *,
        z_loss: float = 0.0,
        before: Callable[[int], None] | None = None,
        each: Callable[[int], None] | None = None,
    ) -> None:
        self.parts = parts
        self.step = 0
        self._policy = policy
        self._ranks = ranks
        self.z_loss = z_loss
        self._before = before
        self._each = each
        self._parameters = list(parts.model.parameters())
        self._device = self._parameters[0].device
        self._saved: list[dict[str, Any]] = []
        self._skipped: Ranges = ()
        self._landed: list[int] = []
        self._losses: list[float] = []
        self._norms: list[float] = []
        self._acts = 0

    def run(self, until: int) -> Ran:
        """Train until a step; the last of the schedule's ends the run."""
        feed, saboteur = self.parts.feed, self.parts.saboteur
        made, has_stopped = 0, False
        self._keep()
        while self.step < until and not has_stopped:
            number = self.step + 1
            for group in self.parts.optimizer.param_groups:
                group["lr"] = self.parts.schedule.lr(number)
                group["eps"] = EPSILON
            saboteur.before_forward(number)
            loss = self._backward(number)
            saboteur.after_backward(number)
            if self._before is not None:
                self._before(number)
            norm = float(torch.nn.utils.get_total_norm([_grad(p) for p in self._parameters]))
            made += 1
            self._losses.append(loss)
            self._norms.append(norm)
            verdict = self._policy.decide(number, loss, norm)
            self._acts += verdict.is_act
            if verdict.does == "land":
                torch.nn.utils.clip_grads_with_norm_(
                    self._parameters, verdict.limit, torch.tensor(norm, device=self._device)
                )
                self.parts.optimizer.step()
                self._landed.append(number)
            self.parts.optimizer.zero_grad(set_to_none=True)
            if verdict.does == "stop":
                has_stopped = True
            elif verdict.does == "back":
                self._return(number - 1 - verdict.back)
                whole = feed.draws_per_step(number)
                skip = (feed.draw, feed.draw + verdict.skip * whole)
                self._skipped = merge([*self._skipped, skip])
                feed.leave_out([(0, self._skipped)])
            else:
                self.step = number
                if number % SAVE_EVERY == 0:
                    self._keep()
                if self._each is not None:
                    self._each(number)
        has_ended = not has_stopped and until == self.parts.schedule.steps
        return Ran(
            reached=self.step,
            made=made,
            landed=len(self._landed),
            acts=self._acts,
            left_out=size(self._skipped),
            is_finite=all(bool(torch.isfinite(p).all()) for p in self._parameters),
            losses=tuple(self._losses),
            norms=tuple(self._norms),
            nll=self.look() if has_ended else None,
        )

    def look(self) -> tuple[float, ...]:
        """Loss per token of the panel, by domain."""
        found = self.parts.panel.evaluate(
            self.parts.model, ranks=self._ranks, device=self._device, attempt=1, step=self.step,
            beat=lambda: None,
        )  # fmt: skip
        return tuple(nll / tokens for nll, tokens in zip(found.nll, found.tokens, strict=True))

    def save(self, path: Path) -> None:
        """Everything that a later process needs to go on from here."""
        past = list(zip(self._losses, self._norms, strict=True))
        torch.save({**self._state(), "past": past}, path)

    def load(self, path: Path) -> None:
        """Go on from there; the policy is told what it would have heard."""
        kept = torch.load(path, weights_only=True)
        for step, (loss, norm) in enumerate(kept.pop("past"), start=1):
            self._policy.decide(step, loss, norm)
        self._restore(kept)

    def _backward(self, number: int) -> float:
        """Gradients of an update; its mean loss over all ranks."""
        feed = self.parts.feed
        micro, draws = feed.accumulate(number), feed.step_draws(number)
        total = torch.zeros((), device=self._device, dtype=torch.float64)
        for batch in feed.micro_batches(draws):
            nll_BT, lse_BT = token_losses(self.parts.model(batch.tokens_BT), batch.targets_BT)
            nll_B, tokens_B = sequence_sums(nll_BT, batch.counted_BT)
            mean = nll_B.sum() / tokens_B.sum()
            objective = mean
            if self.z_loss:
                z_BT = torch.where(batch.counted_BT, lse_BT.square(), 0.0)
                objective = mean + self.z_loss * z_BT.sum() / tokens_B.sum()
            (objective / micro).backward()
            total += mean.detach().double() / micro / self._ranks.world
        self._ranks.add_up(total)
        return float(total)

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "draw": self.parts.feed.draw,
            "model": self.parts.bare.state_dict(),
            "optimizer": self.parts.optimizer.state_dict(),
        }

    def _keep(self) -> None:
        self._saved = [one for one in self._saved if one["step"] < self.step][-9:]
        self._saved.append(copy.deepcopy(self._state()))

    def _return(self, step: int) -> None:
        """To the newest state at or before a step, or the oldest that is left."""
        found = [one for one in self._saved if one["step"] <= step] or self._saved[:1]
        self._restore(copy.deepcopy(found[-1]))
        self._saved = [one for one in self._saved if one["step"] <= self.step]
        self._landed = [one for one in self._landed if one <= self.step]

    def _restore(self, kept: dict[str, Any]) -> None:
        self.parts.bare.load_state_dict(kept["model"])
        self.parts.optimizer.load_state_dict(kept["optimizer"])
        self.parts.feed.seek(kept["draw"])
        self.step = kept["step"]


def _grad(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
