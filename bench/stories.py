"""What the runs of bench/trends.py go through: one event each, and what it should be called."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from steadytrain import recipes
from steadytrain.causes import (
    ANNEALING,
    CORRUPT_SOURCE,
    LEAKED,
    LEARNING,
    REWARM,
    STABILITY_GAP,
    STARVED,
)
from steadytrain.lab import faults
from steadytrain.lab.faults import Fault
from steadytrain.lab.mixtures import parse as parse_mixture
from steadytrain.lab.model import Config
from steadytrain.lab.texts import Corpus
from steadytrain.lab.train import Settings, load_corpus

DOMAINS = ("zh", "en", "code")
PEAK, LOW = 4e-3, 2e-4
BATCH = 16
LOOK_EVERY = 20
BASE, CALM = 1000, 200
EVENT = BASE + CALM
"""The step after which something happens."""

PROOF = 60
"""Updates that a base run makes after the checkpoint, so that it is known to be healthy."""

EVEN = "0.34,0.33,0.33"
Rates = tuple[tuple[int, float], ...]
Name = tuple[str, str]
HELD: Rates = ((0, 0.0), (50, PEAK))
DECAYED: Rates = (*HELD, (600, PEAK), (900, LOW))
REWARMED: Rates = (*DECAYED, (EVENT, LOW), (EVENT + 30, PEAK))


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """What a run goes through.

    Attributes:
        base: the run that it branches off; empty for a base run itself.
        mixture: as `--mixture` of the lab has it, of the whole life.
        steps: after the event.
        fault: kind and domain of what happens at the event, if that is a fault.
        right: explanations that must be given, as (pattern, domain); one of them is enough.
        fine: that may be given as well, or later.
        event: the step after which something happens.
    """

    base: str = ""
    mixture: str = f"{EVEN}@0"
    rates: Rates = HELD
    steps: int = 400
    fault: str = ""
    right: tuple[Name, ...] = ()
    fine: tuple[Name, ...] = ()
    event: int = EVENT


def _named(pattern: str, domains: str) -> tuple[Name, ...]:
    return tuple((pattern, domain) for domain in domains.split())


EN_ONLY = "0,1,0@0"
STORIES = {
    "base-even": Story(),
    "base-pair": Story(mixture="0,0.5,0.5@0"),
    "base-en": Story(
        mixture=EN_ONLY, rates=DECAYED, event=600,
        right=_named(ANNEALING, "en"), fine=_named(ANNEALING, "zh code"),
    ),
    "control": Story(base="base-even"),
    "control-low": Story(base="base-en", mixture=EN_ONLY, rates=DECAYED),
    "rewarm": Story(
        base="base-en", mixture=EN_ONLY, rates=REWARMED, steps=500,
        right=_named(REWARM, "en"), fine=_named(REWARM, "zh code"),
    ),
    "new-domains-80": Story(
        base="base-en", mixture=f"{EN_ONLY};0.1,0.8,0.1@{EVENT}", rates=REWARMED, steps=700,
        right=_named(STABILITY_GAP, "en"),
        fine=(*_named(STABILITY_GAP, "zh code"), *_named(LEARNING, "zh code"),
              *_named(REWARM, "en")),
    ),
    "new-domains-34": Story(
        base="base-en", mixture=f"{EN_ONLY};0.33,0.34,0.33@{EVENT}", rates=REWARMED, steps=700,
        right=_named(STABILITY_GAP, "en"),
        fine=(*_named(STABILITY_GAP, "zh code"), *_named(LEARNING, "zh code"),
              *_named(REWARM, "en"), *_named(STARVED, "en")),
    ),
    "starved": Story(
        base="base-even", mixture=f"{EVEN}@0;0.06,0.47,0.47@{EVENT}",
        right=_named(STARVED, "zh"), fine=_named(LEARNING, "en code"),
    ),
    "raised": Story(
        base="base-even", mixture=f"{EVEN}@0;0.17,0.17,0.66@{EVENT}",
        right=_named(LEARNING, "code"), fine=_named(STARVED, "zh en"),
    ),
    "new-domain": Story(
        base="base-pair", mixture=f"0,0.5,0.5@0;{EVEN}@{EVENT}",
        right=(*_named(LEARNING, "zh"), *_named(STABILITY_GAP, "en code")),
        fine=(*_named(STABILITY_GAP, "zh"), *_named(STARVED, "en code")),
    ),
    "leak": Story(base="base-even", fault="leak:zh", right=_named(LEAKED, "zh")),
    "shard-garbled": Story(
        base="base-even", fault="shard-garbled:zh", right=_named(CORRUPT_SOURCE, "zh")
    ),
    "shard-encoded": Story(
        base="base-even", fault="shard-encoded:en", right=_named(CORRUPT_SOURCE, "en")
    ),
    "annealing": Story(
        base="base-even", rates=(*HELD, (EVENT, PEAK), (EVENT + 400, 0.02 * PEAK)),
        right=_named(ANNEALING, "zh en code"),
    ),
}  # fmt: skip
CONTROLS = {"base-even": "control", "base-en": "control-low"}
BASES = tuple(name for name, story in STORIES.items() if not story.base)

Run = tuple[str, int]
"""A story and a seed."""


@cache
def corpus(texts: Path, seed: int) -> Corpus:
    return load_corpus(_plain(texts, Path("unused"), seed))


def _plain(texts: Path, home: Path, seed: int) -> Settings:
    return Settings(
        home=home,
        seed=seed,
        domains={name: str(texts / f"{name}.jsonl") for name in DOMAINS},
        batch_size=BATCH,
        config=Config(width=64, layers=2, heads=2),
        panel_every=LOOK_EVERY,
        checkpoint_every=BASE,
        judge=recipes.pretrain(mode="observe"),
    )


def settings_of(texts: Path, root: Path, run: Run) -> Settings:
    """A run below a folder; what it branches off lies beside it."""
    name, seed = run
    story = STORIES[name]
    folder = root / f"{name}-{seed}"
    plain = replace(
        _plain(texts, folder / "run", seed),
        mixture=parse_mixture(story.mixture),
        rates=story.rates,
    )
    if not story.base:
        return replace(plain, steps=BASE + PROOF)
    if story.fault:
        faults.save((_fault(story.fault, seed),), folder / "faults.json")
        plain = replace(plain, fault_plan=folder / "faults.json")
    base = root / f"{story.base}-{seed}" / "run"
    return replace(plain, steps=EVENT + story.steps, branch_from=(base, BASE))


def _fault(named: str, seed: int) -> Fault:
    """From the event to the end of the run."""
    kind, _, domain = named.partition(":")
    return Fault(
        kind=kind,
        step=EVENT + 1,
        seed=seed,
        domain=DOMAINS.index(domain),
        first_draw=EVENT * BATCH,
        end_draw=(EVENT + 10_000) * BATCH,
    )
