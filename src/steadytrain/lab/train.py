"""The lab's training script: an ordinary loop, guarded by a Session, with a saboteur inside.

steadytrain run --home runs/r1 -- python -m steadytrain.lab.train --steps 800
"""

import argparse
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel

from steadytrain.errors import SettingError
from steadytrain.judge.judge import Judge
from steadytrain.lab import faults
from steadytrain.lab.model import Config, Transformer
from steadytrain.lab.sabotage import Outbreaks, Saboteur
from steadytrain.lab.spoiling import FaultyOrder
from steadytrain.lab.texts import Corpus
from steadytrain.train import Feed, Panel, Ranks, Session, WarmupStableDecay

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
        fault_plan: a file written by `faults.save`; None: no faults.
        batch_size: sequences of an update over all ranks.
        threads: of this process.

    Source: peak 6e-3 gave the lowest panel loss of 3e-3, 6e-3 and 1.2e-2 (LOG.md 2026-11-23);
    betas .9, .95: GPT-3 and its followers.
    """

    home: Path
    steps: int = 800
    seed: int = 0
    domains: Mapping[str, str | None] | None = None
    fault_plan: Path | None = None
    batch_size: int = 32
    threads: int = 1
    peak: float = 4e-3
    config: Config = field(default_factory=Config)
    panel_sequences: int = 200
    panel_every: int = 100
    snapshot_every: int = 10
    checkpoint_every: int = 50
    judge: Judge | None = None
    fence: bool = True


def train(settings: Settings) -> None:
    """Train the lab's model to the end, or resume where an earlier life stopped."""
    torch.set_num_threads(settings.threads)
    ranks = Ranks.join()
    if settings.batch_size % ranks.world:
        raise SettingError(
            f"{settings.batch_size} sequences do not divide among {ranks.world} ranks. "
            f"Write --batch-size {ranks.world * (settings.batch_size // ranks.world + 1)}."
        )
    planned = faults.load(settings.fault_plan) if settings.fault_plan else ()
    corpus = Corpus.load(
        settings.domains,
        context=settings.config.context,
        seed=settings.seed,
        shares=OWN_SHARES if settings.domains is None else None,
        panel_sequences=settings.panel_sequences,
    )
    if ranks.rank == 0:
        for note in corpus.notes:
            print(f"steadytrain: {note}", flush=True)
    bare = Transformer(settings.config, seed=settings.seed)
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
    )
    order = FaultyOrder(corpus, planned)
    Outbreaks(bare, order, planned)
    feed = Feed(
        order,
        batch_size=settings.batch_size // ranks.world,
        rank=ranks.rank,
        world=ranks.world,
    )
    session = Session(
        model,
        optimizer,
        feed,
        home=settings.home,
        steps=settings.steps,
        judge=settings.judge,
        ranks=ranks,
        schedule=WarmupStableDecay(
            peak=settings.peak,
            steps=settings.steps,
            warmup=max(1, settings.steps // 20),
            decay=settings.steps // 5,
        ),
        panel=Panel(corpus.panel, domains=corpus.domains, digest=corpus.panel_hash),
        panel_every=settings.panel_every,
        snapshot_every=settings.snapshot_every,
        checkpoint_every=settings.checkpoint_every,
        fence=settings.fence,
        order_from="steadytrain.lab.train:order_of",
    )
    if ranks.rank == 0:
        remember = {
            "seed": settings.seed, "domains": settings.domains,
            "context": settings.config.context, "panel_sequences": settings.panel_sequences,
            "fault_plan": str(settings.fault_plan) if settings.fault_plan else None,
        }  # fmt: skip
        settings.home.mkdir(parents=True, exist_ok=True)
        (settings.home / ORDER).write_text(json.dumps(remember))
    with session as run:
        for batch in run:
            saboteur.before_forward(run.step_number + 1)
            run.backward(model(batch.tokens_BT), batch)
            saboteur.after_backward(run.step_number + 1)
            run.step()


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
    return FaultyOrder(corpus, planned)


def parse_domains(given: list[str]) -> dict[str, str | None] | None:
    """`["law=laws.jsonl"]` -> the lab's domains with that one replaced or added.

    Raises:
        SettingError: no `=`, or an empty name or path.
    """
    if not given:
        return None
    domains: dict[str, str | None] = {"zh": None, "en": None, "code": None}
    for one in given:
        name, mark, where = one.partition("=")
        if not mark or not name or not where:
            raise SettingError(
                f"--domain {one} names no text. Write --domain NAME=PATH, such as "
                "--domain zh=texts/zh.jsonl or --domain code/rust=src/."
            )
        # A finer domain takes its parent's default away: zh/news replaces zh.
        domains.pop(name.split("/")[0], None)
        domains[name] = where
    return domains


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--domain", action="append", default=[], metavar="NAME=PATH")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the lab's small language model.")
    add_arguments(parser)
    parser.add_argument("--home", type=Path, default=os.environ.get("STEADYTRAIN_HOME"))
    parser.add_argument("--fault-plan", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args()
    train(
        Settings(
            home=Path(options.home or "runs/lab"),
            steps=options.steps,
            seed=options.seed,
            domains=parse_domains(options.domain),
            fault_plan=options.fault_plan,
            threads=options.threads,
            batch_size=options.batch_size,
        )
    )


if __name__ == "__main__":
    main()
