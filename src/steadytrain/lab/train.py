"""The lab's training script: an ordinary loop, guarded by a Session, with a saboteur inside.

steadytrain run --home runs/r1 -- python -m steadytrain.lab.train --steps 800
"""

import argparse
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from steadytrain import ramps, recipes
from steadytrain.errors import SettingError
from steadytrain.judge.judge import Judge
from steadytrain.lab import faults
from steadytrain.lab.mixtures import Change, Mixture, Phases, phases
from steadytrain.lab.mixtures import parse as parse_mixture
from steadytrain.lab.model import Config, Transformer
from steadytrain.lab.options import (
    Shape,
    add_arguments,
    parse_branch,
    parse_domains,
    parse_ramp,
    parse_rates,
)
from steadytrain.lab.sabotage import Outbreaks, Saboteur
from steadytrain.lab.spoiling import FaultyOrder
from steadytrain.lab.texts import Corpus
from steadytrain.ramps import Ramp
from steadytrain.train import Feed, Panel, Ranks, Session, WarmupStableDecay, Waypoints
from steadytrain.train.schedule import Schedule

ORDER = "order.json"
"""In the home: what the data order was made of."""

OWN_SHARES = {"zh": 0.2, "en": 0.4, "code": 0.4}
"""Of the lab's own text. The handbook is the shortest: at equal shares it would be read ten times
over and learned by heart, and a panel that is close to that says little."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """A run of the lab.

    Attributes:
        home: the run's folder.
        domains: name -> file or folder; None: the lab's own zh, en and code.
        mixture: planned shares of the domains; empty: the same from beginning to end.
        fault_plan: a file written by `faults.save`; None: no faults.
        batch_size: sequences of a micro-batch over all ranks.
        ramp: micro-batches of an update, as (after step, number).
        threads: of this process.
        device: "cpu", or "cuda": one GPU for each rank.
        schedule: "wsd" holds the peak and decays over the last fifth; "cosine" falls from the end
            of the warm-up on.
        rates: (update, learning rate) to be joined by straight lines instead of a schedule.
        branch_from: home of another run of the lab, and the newest step to begin from.
        stop_after: leave the loop after this step, as if stopped; a later life goes on.

    Source: peak 6e-3 gave the lowest panel loss of 3e-3, 6e-3 and 1.2e-2 (LOG.md 2026-11-23);
    betas .9, .95: GPT-3 and its followers.
    """

    home: Path
    steps: int = 800
    seed: int = 0
    domains: Mapping[str, str | None] | None = None
    mixture: tuple[Change, ...] = ()
    fault_plan: Path | None = None
    batch_size: int = 32
    ramp: Ramp = ((0, 1),)
    threads: int = 1
    device: str = "cpu"
    peak: float = 4e-3
    schedule: Shape = "wsd"
    rates: tuple[tuple[int, float], ...] = ()
    branch_from: tuple[Path, int] | None = None
    z_loss: float = 0.0
    config: Config = field(default_factory=Config)
    panel_sequences: int = 200
    panel_every: int | None = 100
    snapshot_every: int = 10
    checkpoint_every: int = 50
    stop_after: int | None = None
    judge: Judge | None = None
    fence: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What a run of the lab is made of, with or without a guard.

    Attributes:
        bare, model: the transformer, and what several ranks wrap it in.
    """

    corpus: Corpus
    bare: Transformer
    model: nn.Module
    optimizer: torch.optim.AdamW
    saboteur: Saboteur
    feed: Feed
    schedule: Schedule
    panel: Panel


def assemble(settings: Settings, ranks: Ranks, *, corpus: Corpus | None = None) -> Parts:
    """The parts of a run, faults included. Every rank, same settings.

    Args:
        corpus: what `load_corpus` gave for the same settings, to read it once for many runs.

    Raises:
        SettingError: settings that make no sense together.
        FeedError: a text is missing, not text, or too short.
    """
    torch.set_num_threads(settings.threads)
    if settings.batch_size % ranks.world:
        raise SettingError(
            f"{settings.batch_size} sequences do not divide among {ranks.world} ranks. "
            f"Write --batch-size {ranks.world * (settings.batch_size // ranks.world + 1)}."
        )
    device = _device(settings.device)
    planned = faults.load(settings.fault_plan) if settings.fault_plan else ()
    corpus = corpus or load_corpus(settings)
    bare = Transformer(settings.config, seed=settings.seed).to(device)
    model = DistributedDataParallel(bare) if ranks.world > 1 else bare
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.peak, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    saboteur = Saboteur(
        bare,
        optimizer,
        planned,
        fired=settings.home.parent / "lab" / "fired.json",
        rank=ranks.rank,
        world=ranks.world,
    )
    order = FaultyOrder(_mixed(corpus, _phases(settings)), planned, panel=corpus.panel)
    Outbreaks(bare, order, planned)
    return Parts(
        corpus=corpus,
        bare=bare,
        model=model,
        optimizer=optimizer,
        saboteur=saboteur,
        feed=Feed(
            order,
            batch_size=settings.batch_size // ranks.world,
            accumulate=settings.ramp,
            rank=ranks.rank,
            world=ranks.world,
            device=device,
        ),
        schedule=_schedule(settings),
        panel=Panel(corpus.panel),
    )


def train(settings: Settings, *, corpus: Corpus | None = None) -> None:
    """Train the lab's model to the end, or resume where an earlier life stopped."""
    ranks = Ranks.join()
    parts = assemble(settings, ranks, corpus=corpus)
    session = Session(
        parts.model,
        parts.optimizer,
        parts.feed,
        home=settings.home,
        steps=settings.steps,
        judge=settings.judge,
        ranks=ranks,
        schedule=parts.schedule,
        branch_from=settings.branch_from,
        panel=parts.panel,
        panel_every=settings.panel_every,
        z_loss=settings.z_loss,
        snapshot_every=settings.snapshot_every,
        checkpoint_every=settings.checkpoint_every,
        fence=settings.fence,
        order_from="steadytrain.lab.train:order_of",
    )
    if ranks.rank == 0:
        for note in parts.corpus.notes:
            print(f"steadytrain: {note}", flush=True)
        _remember(settings)
    with session as run:
        for batch in run:
            parts.saboteur.before_forward(run.step_number + 1)
            run.backward(parts.model(batch.tokens_BT), batch)
            parts.saboteur.after_backward(run.step_number + 1)
            run.step()
            if settings.stop_after is not None and run.step_number >= settings.stop_after:
                break


def load_corpus(settings: Settings) -> Corpus:
    """The text of a run, without faults."""
    return Corpus.load(
        settings.domains,
        context=settings.config.context,
        seed=settings.seed,
        shares=OWN_SHARES if settings.domains is None else None,
        panel_sequences=settings.panel_sequences,
    )


def order_of(home: Path) -> FaultyOrder:
    """The data order of a run of the lab, for `steadytrain show`."""
    kept = json.loads((home / ORDER).read_text())
    planned = faults.load(Path(kept["fault_plan"])) if kept["fault_plan"] else ()
    corpus = Corpus.load(
        kept["domains"],
        context=kept["context"],
        seed=kept["seed"],
        shares=OWN_SHARES if kept["domains"] is None else None,
        panel_sequences=kept["panel_sequences"],
    )
    plan = tuple((first, tuple(shares)) for first, shares in kept.get("mixture", ()))
    return FaultyOrder(_mixed(corpus, plan), planned, panel=corpus.panel)


def model_of(home: Path) -> Transformer:
    """The model of a run of the lab, untrained, for `steadytrain panel --checkpoint`."""
    kept = json.loads((home / ORDER).read_text())
    sizes = kept.get("config", {"context": kept["context"]})
    return Transformer(Config(**sizes), seed=kept["seed"])


def _remember(settings: Settings) -> None:
    """Write down what the data order and the model were made of."""
    remember = {
        "seed": settings.seed, "domains": settings.domains, "mixture": _phases(settings),
        "context": settings.config.context, "config": asdict(settings.config),
        "panel_sequences": settings.panel_sequences,
        "fault_plan": str(settings.fault_plan) if settings.fault_plan else None,
    }  # fmt: skip
    settings.home.mkdir(parents=True, exist_ok=True)
    (settings.home / ORDER).write_text(json.dumps(remember))


def _phases(settings: Settings) -> Phases:
    """The planned mixture by draws; a step's first draw follows from the ramp."""
    if not settings.mixture:
        return ()
    return phases(
        settings.mixture,
        lambda step: settings.batch_size * ramps.total_before(settings.ramp, step),
    )


def _schedule(settings: Settings) -> Schedule:
    if settings.rates:
        return Waypoints(points=settings.rates, decay=max(1, settings.steps // 5))
    warmup = max(1, settings.steps // 20)
    return WarmupStableDecay(
        peak=settings.peak,
        steps=settings.steps,
        warmup=warmup,
        decay=settings.steps // 5 if settings.schedule == "wsd" else settings.steps - warmup,
        shape="1-sqrt" if settings.schedule == "wsd" else "cosine",
    )


def _mixed(corpus: Corpus, plan: Phases) -> Corpus | Mixture:
    return Mixture(corpus, plan) if plan else corpus


def _device(name: str) -> torch.device:
    if name == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise SettingError(
            f"--device {name} needs a GPU that this PyTorch can use, and it sees none. Write "
            "--device cpu."
        )
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def settings_of(options: argparse.Namespace, home: Path) -> Settings:
    """The run that the options of `add_arguments` name."""
    return Settings(
        home=home,
        steps=options.steps,
        seed=options.seed,
        domains=parse_domains(options.domain),
        mixture=parse_mixture(options.mixture) if options.mixture else (),
        batch_size=options.batch_size,
        ramp=parse_ramp(options.ramp) if options.ramp else ((0, 1),),
        threads=options.threads,
        device=options.device,
        peak=options.peak,
        schedule=options.schedule,
        rates=parse_rates(options.rates) if options.rates else (),
        branch_from=parse_branch(options.branch_from) if options.branch_from else None,
        z_loss=options.z_loss,
        config=Config(
            width=options.width,
            layers=options.layers,
            heads=options.heads,
            qk_norm=options.qk_norm,
            embed_shrink=options.embed_shrink,
            softcap=options.softcap,
        ),
        judge=recipes.pretrain(mode=options.mode, trials=options.trial),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the lab's small language model.")
    add_arguments(parser)
    parser.add_argument("--home", type=Path, default=os.environ.get("STEADYTRAIN_HOME"))
    parser.add_argument("--fault-plan", type=Path)
    parser.add_argument("--stop-after", type=int)
    counts = ("panel_sequences", "panel_every", "snapshot_every", "checkpoint_every")
    for name in counts:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int)
    options = parser.parse_args()
    train(
        replace(
            settings_of(options, Path(options.home or "runs/lab")),
            fault_plan=options.fault_plan,
            stop_after=options.stop_after,
            **{name: getattr(options, name) for name in counts if getattr(options, name)},
        )
    )


if __name__ == "__main__":
    main()
