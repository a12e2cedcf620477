"""Gather the evidence that an incident asks for, and leave the run untouched to the bit."""

import hashlib
import json
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from steadytrain.events import BatchExamined, ExaminedSequence, Incident
from steadytrain.ranges import Ranges, from_members
from steadytrain.stats.blocks import MAD_TO_SIGMA
from steadytrain.text.alike import groups
from steadytrain.train.feed import Feed
from steadytrain.train.hands import Settings
from steadytrain.train.losses import sequence_sums, token_losses
from steadytrain.train.marks import Marks, merge_marks
from steadytrain.train.proofreader import Proofreader
from steadytrain.train.ranks import Ranks
from steadytrain.train.recorder import REPEATS, Flight, Recorder
from steadytrain.train.replicas import MOST_NAMED, Replicas, kind_of
from steadytrain.train.reruns import Reruns, merge_reruns, repeats_exactly
from steadytrain.train.snapshots import Snapshot, Snapshots
from steadytrain.train.softcap import GROWING, as_evidence, look_at
from steadytrain.train.state import TrainingState, local

SUSPECTS = 8
CONTROLS = 5
"""Random sequences of the last healthy updates: a verdict is a comparison, not an anecdote. Not of
the same batch, since a bad shard may have spoiled a third of that."""

BACK_STEPS = 4
"""Text is read from so many steps before the onset: a shard may begin with one mild sequence."""

AHEAD_STEPS = 8
"""Text is read ahead in stretches of this many steps, until a whole stretch is clean ..."""

MOST_COMPARED = 512
"""Corrupt texts that are compared with each other."""

AHEAD_LIMIT = 64
"""... or so many steps were read. Source: guess, LOG.md 2026-11-24."""


Row = tuple[int, str | None, str]
"""Domain, defect and evidence of a draw."""


class Examiner:
    """Reads texts, repeats losses under earlier weights, and looks for impossible moves.

    Args:
        settings: what remedies asked of a step.
        clippable: weights that a clip of attention may shrink.
    """

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
        reruns: Reruns,
        replicas: Replicas,
        proofreader: Proofreader,
        ranks: Ranks,
        clip: float | None,
        settings: Callable[[int], Settings],
        clippable: Callable[[], Sequence[Tensor]],
    ) -> None:
        self._home = home
        self._settings = settings
        self._clippable = clippable
        self._model = model
        self._state = state
        self._feed = feed
        self._proofreader = proofreader
        self._recorder = recorder
        self._snapshots = snapshots
        self._reruns = reruns
        self._replicas = replicas
        self._marks = Marks(state, optimizer, ranks, clip=clip)
        self._ranks = ranks

    def examine(self, incident: Incident, *, attempt: int, step: int) -> BatchExamined:
        """All the evidence about an incident, before step `step + 1`. Every rank, same order."""
        began = time.monotonic()
        onset = incident.onset
        affected = self._recorder.between(onset, step)
        healthy = self._recorder.between(onset - 32, onset - 1)
        read = self._read_around(onset, step)
        sequences, texts = self._choose(affected, healthy, read) if self._ranks.counts else ((), [])
        unlike = self._replicas.compare_each()
        # Where replicas came apart, the state before the onset was alike on all of them.
        margin = 1 if any(name.startswith("replica") for name in incident.signals) else 2
        before = self._snapshots.newest_at_or_before(max(0, onset - margin))
        losses = self._compare(affected, healthy, before)
        # Every rank must come to the same answer: what follows is done by all of them together.
        has_defect = any(self._ranks.gather(any(row[1] for row in read.values())))
        marks = self._look_for_marks(before, step) if before else {}
        rerun = self._rerun(before, healthy, onset, step, is_text=has_defect)
        grows = healthy and GROWING & set(incident.signals)
        caps = look_at(self._model, self._feed, healthy[-1].draws.tolist()) if grows else None
        gathered = self._ranks.gather((read, sequences, texts, losses, marks, rerun, caps))
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
            alike=self._largest_group(flagged),
            sources=self._commonest_sources(flagged),
            scanned=len({draw for part in gathered for draw in part[0]}),
            before_step=before.step if before is not None else None,
            copies=self._replicas.copies if self._ranks.world > 1 else None,
            unlike=unlike[:MOST_NAMED],
            unlike_kinds=dict(Counter(kind_of(one.part) for one in unlike)),
            nonfinite_weights=self._marks.count_nonfinite(),
            below_epsilon=self._marks.below_epsilon(),
            harmless_epsilon=self._marks.harmless_epsilon(),
            repeated=_repeated_share(affected, self._recorder.between(onset - REPEATS, step)),
            repeated_before=_repeated_share(
                healthy[-8:], self._recorder.between(onset - REPEATS, onset - 1)
            ),
            seconds=time.monotonic() - began,
            path=path,
            digest=digest,
            **_merge_losses([part[3] for part in gathered]),
            **merge_marks([part[4] for part in gathered]),
            **merge_reruns(
                [part[5] for part in gathered], exact=repeats_exactly(self._feed.device)
            ),
            **as_evidence([part[6] for part in gathered]),
        )

    def _look_for_marks(self, before: Snapshot, step: int) -> dict[str, float]:
        steps = range(before.step + 1, step + 1)
        return self._marks.impossible(
            before,
            self._recorder.between(before.step + 1, step),
            was_reset=any(self._settings(one).resets_moments for one in steps),
            shrunk=self._clippable()
            if any(self._settings(one).attention_threshold for one in steps)
            else (),
        )

    def _rerun(
        self,
        before: Snapshot | None,
        healthy: list[Flight],
        onset: int,
        step: int,
        *,
        is_text: bool,
    ) -> dict[str, Any]:
        """The steps since a healthy state made again; not where the text explains it already."""
        if before is None or not healthy or is_text:
            return {}
        remade = self._reruns.remake(
            before,
            self._recorder.between(before.step + 1, step),
            onset=onset,
            control=lambda: self.loss(healthy[-1]),
            alike=lambda: not self._replicas.compare_each(),
        )
        if remade is None:
            return {}
        # The same few sequences on every rank, so that answers can be compared.
        shared = self._ranks.tell(tuple(healthy[-1].draws[: self._feed.batch_size].tolist()))
        first, second = self._reruns.twice(shared)
        return {
            "remade_steps": remade.steps,
            "differs_at": remade.differs_at,
            "differs_in": remade.differs_in,
            "weights_differ": remade.weights_differ,
            "moments_differ": remade.moments_differ,
            "norm_again": remade.norm,
            "full_rate": remade.full_rate,
            "half_rate": remade.half_rate,
            "remade_alike": remade.alike if self._replicas.copies > 1 else None,
            "twice": (first, second),
        }

    def _read_around(self, onset: int, step: int) -> dict[int, Row]:
        """Lint every draw of the affected steps and those ahead."""
        read: dict[int, Row] = {}
        for flight in self._recorder.between(onset - BACK_STEPS, step):
            read |= self._read(flight.draws.tolist())
        if not any(row[1] for row in read.values()):
            return read
        present = step + 1  # its draws are drawn already
        first = self._feed.draw - self._feed.draws_per_step(present)
        for turn in range(AHEAD_LIMIT // AHEAD_STEPS):
            ahead: dict[int, Row] = {}
            for number in range(turn * AHEAD_STEPS, (turn + 1) * AHEAD_STEPS):
                size = self._feed.draws_per_step(present + number)
                ahead |= self._read(range(first, first + size))
                first += size
            read |= ahead
            if not any(row[1] for row in ahead.values()):
                break
        return read

    def _largest_group(self, flagged: Mapping[int, Row]) -> int:
        """The most corrupt sequences that are nearly the same text: one garbage, many times."""
        texts = [self._feed.order.text(draw) for draw in list(flagged)[:MOST_COMPARED]]
        return max(map(len, groups(texts)), default=0)

    def _commonest_sources(self, flagged: Mapping[int, Row]) -> tuple[tuple[str, int], ...]:
        """Files with the most corrupt sequences; a source is a file and a place in it."""
        block = self._feed.order.block
        files = Counter(block(draw).source.rpartition(":")[0] for draw in flagged)
        return tuple((name, count) for name, count in files.most_common(3) if name)

    def _read(self, draws: Sequence[int]) -> dict[int, Row]:
        return {
            one.draw: (one.domain, one.defect, one.verdict.evidence)
            for one in self._proofreader.read(draws)
        }

    def _choose(
        self,
        affected: list[Flight],
        healthy: list[Flight],
        read: dict[int, Row],
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
                _, defect, evidence = read.get(draw) or self._read((draw,))[draw]
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
        losses = {"suspect_now": self.loss(suspect), "control_now": self.loss(control)}
        if before is None:
            return losses
        present = {name: tensor.detach().clone() for name, tensor in self._weights().items()}
        self._put(before.tensors)
        losses |= {"suspect_before": self.loss(suspect), "control_before": self.loss(control)}
        self._put(present)
        return losses

    def _weights(self) -> dict[str, Tensor]:
        return {k: local(v) for k, v in self._state.tensors().items() if k.startswith("model.")}

    @torch.no_grad()
    def _put(self, weights: Mapping[str, Tensor]) -> None:
        # Asked for afresh: FSDP2 puts other tensors in place after a forward pass.
        for name, tensor in self._weights().items():
            tensor.copy_(local(weights[name]))

    @torch.no_grad()
    def loss(self, flight: Flight) -> float:
        """Mean loss of this rank's sequences of an update, under the present weights."""
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


def _domains_of(ranges: Ranges, flagged: dict[int, Row]) -> tuple[int, ...]:
    return tuple(flagged[first][0] for first, _ in ranges)


def _merge_losses(parts: list[dict[str, float]]) -> dict[str, Any]:
    names = {name for part in parts for name in part}
    return {
        name: math.fsum(part[name] for part in parts if name in part)
        / sum(name in part for part in parts)
        for name in names
    }


def _repeated_share(flights: list[Flight], known: list[Flight]) -> float | None:
    """Share of the sequences that stood in these steps or in the ones before already."""
    counts = Counter(chain.from_iterable(flight.digests.tolist() for flight in known))
    mine = [one for flight in flights for one in flight.digests.tolist()]
    return sum(counts[one] > 1 for one in mine) / len(mine) if mine else None
