"""Gather the evidence that an incident asks for, and leave the run untouched to the bit."""

import hashlib
import json
import math
import random
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from steadytrain.events import BatchExamined, ExaminedSequence, Incident
from steadytrain.ranges import Ranges, from_members
from steadytrain.stats.blocks import MAD_TO_SIGMA
from steadytrain.text import lint
from steadytrain.train.feed import Feed
from steadytrain.train.losses import sequence_sums, token_losses
from steadytrain.train.ranks import Ranks
from steadytrain.train.recorder import Flight, Recorder
from steadytrain.train.snapshots import Snapshot, Snapshots
from steadytrain.train.state import TrainingState, local

SUSPECTS = 8
CONTROLS = 5
"""Random sequences of the last healthy updates: a verdict is a comparison, not an anecdote. Not of
the same batch, since a bad shard may have spoiled a third of that."""

BACK_STEPS = 4
"""Text is read from so many steps before the onset: a shard may begin with one mild sequence."""

AHEAD_STEPS = 8
"""Text is read ahead in stretches of this many steps, until a whole stretch is clean ..."""

AHEAD_LIMIT = 64
"""... or so many steps were read. Source: guess, LOG.md 2026-11-24."""

SLACK = 10.0
"""Room over Adam's bound before a weight's move is called impossible."""

TINY = 1e-30
"""Second moments below this are rounding, not history."""


class Examiner:
    """Reads texts, repeats losses under earlier weights, and looks for impossible moves."""

    def __init__(
        self,
        *,
        home: Path,
        model: nn.Module,
        state: TrainingState,
        optimizer: torch.optim.Optimizer,
        feed: Feed,
        recorder: Recorder,
        snapshots: Snapshots,
        ranks: Ranks,
    ) -> None:
        self._home = home
        self._model = model
        self._state = state
        self._optimizer = optimizer
        self._feed = feed
        self._recorder = recorder
        self._snapshots = snapshots
        self._ranks = ranks

    def examine(self, incident: Incident, *, attempt: int, step: int) -> BatchExamined:
        """All the evidence about an incident, before step `step + 1`. Every rank, same order."""
        began = time.monotonic()
        onset = incident.onset
        affected = self._recorder.between(onset, step)
        healthy = self._recorder.between(onset - 32, onset - 1)
        read = self._read_around(onset, step)
        sequences, texts = self._choose(affected, healthy, read)
        before = self._snapshots.newest_at_or_before(max(0, onset - 2))
        losses = self._compare(affected, healthy, before)
        marks = self._impossible(before, step) if before is not None else {}
        gathered = self._ranks.gather((read, sequences, texts, losses, marks))
        flagged = {draw: row for part in gathered for draw, row in part[0].items() if row[1]}
        defects = Counter(row[1] for row in flagged.values())
        ranges = from_members(flagged)
        path, digest = self._write(incident, step, [text for part in gathered for text in part[2]])
        return BatchExamined(
            incident=incident.id,
            attempt=attempt,
            step=step,
            sequences=tuple(one for part in gathered for one in part[1]),
            flagged=ranges,
            flagged_domains=_domains_of(ranges, flagged),
            defect=defects.most_common(1)[0][0] if defects else None,
            scanned=len({draw for part in gathered for draw in part[0]}),
            before_step=before.step if before is not None else None,
            nonfinite_weights=self._count_nonfinite(),
            seconds=time.monotonic() - began,
            path=path,
            digest=digest,
            **_merge_losses([part[3] for part in gathered]),
            **_merge_marks([part[4] for part in gathered]),
        )

    def _read_around(self, onset: int, step: int) -> dict[int, tuple[int, str | None, str]]:
        """Lint every draw of the affected steps and those ahead: draw -> (domain, defect, why)."""
        read: dict[int, tuple[int, str | None, str]] = {}
        for flight in self._recorder.between(onset - BACK_STEPS, step):
            for draw in flight.draws.tolist():
                read[draw] = self._lint(draw)
        if not any(row[1] for row in read.values()):
            return read
        stretch = AHEAD_STEPS * self._feed.draws_per_step
        first = self._feed.draw - self._feed.draws_per_step
        for _ in range(AHEAD_LIMIT // AHEAD_STEPS):
            ahead = {draw: self._lint(draw) for draw in range(first, first + stretch)}
            read |= ahead
            first += stretch
            if not any(row[1] for row in ahead.values()):
                break
        return read

    def _lint(self, draw: int) -> tuple[int, str | None, str]:
        domain = self._feed.order.block(draw).domain
        found = lint(self._feed.order.text(draw), domain=self._feed.domains[domain])
        return domain, found.kind if found.verdict == "corrupt" else None, found.evidence

    def _choose(
        self,
        affected: list[Flight],
        healthy: list[Flight],
        read: dict[int, tuple[int, str | None, str]],
    ) -> tuple[list[ExaminedSequence], list[dict[str, Any]]]:
        """Suspects (corrupt first, then strange) and random controls from before the onset."""
        centres = _centres(healthy)
        rows = _rows(affected, centres)
        rows.sort(key=lambda row: (read.get(row[0], (0, None, ""))[1] is None, -abs(row[4])))
        suspects, calm = rows[:SUSPECTS], _rows(healthy[-2:], centres)
        chance = random.Random(affected[0].step if affected else 0)
        controls = chance.sample(calm, min(CONTROLS, len(calm)))
        sequences, texts = [], []
        for role, chosen in (("suspect", suspects), ("control", controls)):
            for draw, step, domain, loss, z in chosen:
                _, defect, evidence = read.get(draw) or self._lint(draw)
                one = ExaminedSequence(
                    draw=draw,
                    step=step,
                    domain=domain,
                    loss=loss,
                    z=z,
                    verdict="corrupt" if defect else "clean",
                    role=role,  # type: ignore[arg-type]
                    defect=defect,
                    evidence=evidence,
                    source=self._feed.order.block(draw).source,
                )
                sequences.append(one)
                texts.append(
                    {
                        "draw": draw,
                        "step": step,
                        "domain": self._feed.domains[domain],
                        "source": one.source,
                        "loss": loss,
                        "z": z,
                        "verdict": one.verdict,
                        "defect": defect,
                        "evidence": evidence,
                        "role": role,
                        "text": self._feed.order.text(draw),
                    }
                )
        return sequences, texts

    def _compare(
        self, affected: list[Flight], healthy: list[Flight], before: Snapshot | None
    ) -> dict[str, float]:
        """Suspect and control batch under present and earlier weights: data or state?"""
        if not affected or not healthy:
            return {}
        suspect, control = affected[0], healthy[-1]
        losses = {"suspect_now": self._loss(suspect), "control_now": self._loss(control)}
        if before is None:
            return losses
        present = {name: tensor.detach().clone() for name, tensor in self._weights().items()}
        self._put(before.tensors)
        losses |= {"suspect_before": self._loss(suspect), "control_before": self._loss(control)}
        self._put(present)
        return losses

    def _weights(self) -> dict[str, Tensor]:
        return {k: local(v) for k, v in self._state.tensors().items() if k.startswith("model.")}

    @torch.no_grad()
    def _put(self, weights: Mapping[str, Tensor]) -> None:
        # Asked for afresh: FSDP2 puts other tensors in place after a forward pass.
        for name, tensor in self._weights().items():
            tensor.copy_(weights[name])

    @torch.no_grad()
    def _loss(self, flight: Flight) -> float:
        was_training = self._model.training
        self._model.eval()
        nll, tokens = 0.0, 0
        for first in range(0, len(flight.draws), self._feed.batch_size):
            draws = tuple(flight.draws[first : first + self._feed.batch_size].tolist())
            batch = self._feed.batch(draws)
            nll_BT, _ = token_losses(self._model(batch.tokens_BT), batch.targets_BT)
            nll_B, tokens_B = sequence_sums(nll_BT, batch.counted_BT)
            nll += float(nll_B.double().sum())
            tokens += int(tokens_B.sum())
        self._model.train(was_training)
        return nll / max(1, tokens)

    @torch.no_grad()
    def _impossible(self, before: Snapshot, step: int) -> dict[str, float]:
        """Moves that no step of Adam could have made since a snapshot.

        A step moves a weight by at most lr * max(1, (1 - beta1) / sqrt(1 - beta2)) (Kingma and Ba
        2015, section 2.1) plus lr * weight decay * |w|; a second moment falls by at most beta2.
        """
        group = self._optimizer.param_groups[0]
        if "betas" not in group:
            return {}
        flights = self._recorder.between(before.step + 1, step)
        beta1, beta2 = (float(beta) for beta in group["betas"])
        cap = max(1.0, (1 - beta1) / math.sqrt(1 - beta2))
        reach = SLACK * sum(flight.lr for flight in flights)
        decay = reach * float(group.get("weight_decay", 0.0))
        floor = beta2 ** len(flights)
        weight = moment = 0.0
        lost = counted = 0
        for name, tensor in self._state.tensors().items():
            old = before.tensors.get(name)
            if old is None:
                continue
            now = local(tensor).detach().float()
            was = old.to(now.device).float()
            if name.startswith("model.") and reach > 0:
                excess = (now - was).abs() / (reach * cap + decay * was.abs())
                weight = max(weight, _largest(excess))
            elif name.endswith(".exp_avg_sq"):
                history = was > TINY
                fall = torch.where(history, floor * was / now.clamp(min=TINY), 0.0)
                moment = max(moment, _largest(fall) / 1.01)  # 1.01: rounding of the decay
                lost += int((fall > 2.0).sum())
                counted += int(history.sum())
        return {
            "weight_excess": weight,
            "moment_excess": moment,
            "moments_lost": lost / max(1, counted),
        }

    def _count_nonfinite(self) -> int:
        tensors = [local(v) for k, v in self._state.tensors().items() if k.startswith("model.")]
        return int(sum((~torch.isfinite(t)).sum().item() for t in tensors if t.is_floating_point()))

    def _write(
        self, incident: Incident, step: int, texts: list[dict[str, Any]]
    ) -> tuple[str | None, str | None]:
        if self._ranks.rank != 0 or not texts:
            return None, None
        body = json.dumps(texts, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace")
        path = self._home / "incidents" / incident.id / f"sequences-{step}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        return path.relative_to(self._home).as_posix(), hashlib.blake2b(body).hexdigest()[:32]


def _rows(
    flights: list[Flight], centres: dict[int, tuple[float, float]]
) -> list[tuple[int, int, int, float, float]]:
    """(draw, step, domain, loss, z within its domain) of every sequence."""
    rows = []
    for flight in flights:
        for draw, domain, loss in zip(
            flight.draws.tolist(), flight.domains.tolist(), flight.losses.tolist(), strict=True
        ):
            centre, spread = centres.get(domain, (math.nan, math.nan))
            z = (loss - centre) / spread if spread else 0.0
            rows.append((draw, flight.step, domain, loss, z if math.isfinite(z) else 0.0))
    return rows


def _centres(healthy: list[Flight]) -> dict[int, tuple[float, float]]:
    """Median and robust spread of the sequence losses of each domain in healthy steps."""
    if not healthy:
        return {}
    domains = np.concatenate([flight.domains for flight in healthy])
    losses = np.concatenate([flight.losses for flight in healthy])
    centres = {}
    for domain in np.unique(domains).tolist():
        mine = losses[domains == domain]
        centre = float(np.median(mine))
        spread = MAD_TO_SIGMA * float(np.median(np.abs(mine - centre)))
        centres[domain] = (centre, max(spread, 1e-6))
    return centres


def _domains_of(ranges: Ranges, flagged: dict[int, tuple[int, str | None, str]]) -> tuple[int, ...]:
    return tuple(flagged[first][0] for first, _ in ranges)


def _largest(values: Tensor) -> float:
    if not values.numel():
        return 0.0
    return float(torch.nan_to_num(values, nan=math.inf, posinf=math.inf).max())


def _merge_losses(parts: list[dict[str, float]]) -> dict[str, float]:
    names = {name for part in parts for name in part}
    return {
        name: math.fsum(part[name] for part in parts if name in part)
        / sum(name in part for part in parts)
        for name in names
    }


def _merge_marks(parts: list[dict[str, float]]) -> dict[str, float]:
    names = {name for part in parts for name in part}
    return {name: max(part[name] for part in parts if name in part) for name in names}
