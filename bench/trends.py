"""Are slow movements of the panel rightly named? Runs of the lab's model on real text, one event each.

    PYTHONPATH=src:bench python bench/trends.py --texts corpus/ --keep trends/ --json trends.jsonl

`--texts` holds zh.jsonl, en.jsonl and code.jsonl. For each seed three base runs of 1,000 updates are
made; all others branch off one of them, go on as before for 200 updates, and then one thing happens.
The judge only watches. Counted is what the first explanation says, and how long it took.
An interrupted bench goes on where it stopped if --keep names the same folder. `--journals FOLDER`
judges kept runs again, with today's judge and without training.
"""

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import forks
from forks import Row
from steadytrain import journal, recipes
from steadytrain.events import PanelRecord, RunEnded
from steadytrain.lab import faults
from steadytrain.lab.faults import Fault
from steadytrain.lab.mixtures import parse as parse_mixture
from steadytrain.lab.model import Config
from steadytrain.lab.texts import Corpus
from steadytrain.lab.train import Settings, load_corpus, train

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
    """

    base: str = ""
    mixture: str = f"{EVEN}@0"
    rates: Rates = HELD
    steps: int = 400
    fault: str = ""


STORIES = {
    "base-even": Story(),
    "base-en": Story(mixture="0,1,0@0", rates=DECAYED),
    "base-pair": Story(mixture="0,0.5,0.5@0"),
    "control": Story(base="base-even"),
    "control-low": Story(base="base-en", mixture="0,1,0@0", rates=DECAYED),
    "rewarm": Story(base="base-en", mixture="0,1,0@0", rates=REWARMED, steps=500),
    "new-domains-80": Story(
        base="base-en", mixture=f"0,1,0@0;0.1,0.8,0.1@{EVENT}", rates=REWARMED, steps=700
    ),
    "new-domains-34": Story(
        base="base-en", mixture=f"0,1,0@0;0.33,0.34,0.33@{EVENT}", rates=REWARMED, steps=700
    ),
    "starved": Story(base="base-even", mixture=f"{EVEN}@0;0.06,0.47,0.47@{EVENT}"),
    "raised": Story(base="base-even", mixture=f"{EVEN}@0;0.17,0.17,0.66@{EVENT}"),
    "new-domain": Story(base="base-pair", mixture=f"0,0.5,0.5@0;{EVEN}@{EVENT}"),
    "leak": Story(base="base-even", fault="leak:zh"),
    "shard-garbled": Story(base="base-even", fault="shard-garbled:zh"),
    "shard-encoded": Story(base="base-even", fault="shard-encoded:en"),
    "annealing": Story(
        base="base-even", rates=(*HELD, (EVENT, PEAK), (EVENT + 400, 0.02 * PEAK))
    ),
}  # fmt: skip
BASES = tuple(name for name, story in STORIES.items() if not story.base)
Run = tuple[str, int]


def main() -> None:
    options = _options()
    known = forks.read_rows(options.json)
    if not options.print:
        forks.say_machine("cpu")
        rows = [row for row in known if "error" not in row]
        done = {(row["story"], row["seed"]) for row in rows}
        seeds = range(options.first_seed, options.first_seed + options.seeds)
        wanted = [one for one in STORIES if not options.only or one in options.only.split(",")]
        with tempfile.TemporaryDirectory() as scratch:
            root = options.keep or Path(scratch)
            for batch in _in_order(wanted, seeds, done):
                for seed in {seed for _, seed in batch}:
                    corpus(options.texts, seed)  # read before forking
                found = forks.run_all(
                    partial(_work, options.texts, root), batch,
                    folder=lambda run: root / f"{run[0]}-{run[1]}", jobs=options.jobs,
                )  # fmt: skip
                for (story, seed), row in found:
                    row = {"story": story, "seed": seed} | row
                    forks.append_row(options.json, row)
                    rows.append(row)
                    print(row, flush=True)
        known = rows


def _in_order(wanted: Sequence[str], seeds: Sequence[int], done: set[Run]) -> list[list[Run]]:
    """Runs to make: for each seed the bases that are needed, then what branches off them."""
    found = []
    for seed in seeds:
        mine = [(name, seed) for name in wanted if (name, seed) not in done]
        needed = {STORIES[name].base or name for name, _ in mine}
        found.append(
            [(name, seed) for name in BASES if name in needed and (name, seed) not in done]
        )
        found.append([run for run in mine if run[0] not in BASES])
    return [batch for batch in found if batch]


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


def _work(texts: Path, root: Path, run: Run, folder: Path) -> Row:
    home = folder / "run"
    if home.exists() and not (home / "journal").exists():
        shutil.rmtree(home)
    if not home.exists() or not _has_ended(home):
        train(settings_of(texts, root, run), corpus=corpus(texts, run[1]))
    return moves(home)


def _has_ended(home: Path) -> bool:
    """Whether a run made its last step; one that did not goes on from its checkpoint."""
    return any(isinstance(event, RunEnded) for event in journal.load(home, "rank0"))


def moves(home: Path) -> Row:
    """Mean loss of each domain at each look."""
    looks = [one for one in journal.load(home, "rank0") if isinstance(one, PanelRecord)]
    return {
        "steps": [one.step for one in looks],
        "losses": [
            [round(nll / tokens, 5) for nll, tokens in zip(one.nll, one.tokens, strict=True)]
            for one in looks
        ],
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--texts", type=Path, help="folder with zh.jsonl, en.jsonl, code.jsonl")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default="", help=f"stories, with commas: {', '.join(STORIES)}")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path, help="rows go here; those in it are not made again")
    parser.add_argument("--print", action="store_true", help="only the table of what --json holds")
    parser.add_argument("--keep", type=Path, help="folder for the runs")
    return parser.parse_args()


if __name__ == "__main__":
    main()
