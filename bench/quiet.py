"""Are healthy runs left alone? Fault-free runs of 2,000 steps; every act of the guard is a false one.

    PYTHONPATH=src:bench python bench/quiet.py --jobs 2 --json quiet.jsonl

Four plans that a real run may have, with five seeds each: WSD; cosine; WSD with a mixture that changes
twice, once at once and once little by little; WSD with a batch ramp. Counted are incidents, acts of
any kind (remedies carried out, and updates that the gate held back), and looks at evidence. An
interrupted run goes on where it stopped if --keep names the same folder.
"""

import argparse
import shutil
import statistics
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import forks
import guarded
from forks import Row
from steadytrain.lab.mixtures import parse as parse_mixture
from steadytrain.lab.train import Settings, train
from steadytrain.train import Ranks

PLANS = ("wsd", "cosine", "mixture", "ramp")
Run = tuple[str, int]


def main() -> None:
    options = _options()
    known = forks.read_rows(options.json)
    if not options.print:
        forks.say_machine(options.device)
        rows = [row for row in known if row["steps"] == options.steps and "error" not in row]
        done = {(row["plan"], row["seed"]) for row in rows}
        seeds = range(options.first_seed, options.first_seed + options.seeds)
        plans = [one for one in PLANS if not options.only or one in options.only.split(",")]
        runs = [(plan, seed) for seed in seeds for plan in plans if (plan, seed) not in done]
        for seed in {seed for _, seed in runs}:
            forks.corpus(seed)  # read before forking
        with tempfile.TemporaryDirectory() as scratch:
            root = options.keep or Path(scratch)
            found = forks.run_all(
                partial(_work, options.steps, options.device), runs,
                folder=lambda run: root / f"{run[0]}-{run[1]}", jobs=options.jobs,
            )  # fmt: skip
            for (plan, seed), row in found:
                row = {"plan": plan, "seed": seed, "steps": options.steps} | row
                forks.append_row(options.json, row)
                rows.append(row)
                print(_line(row), flush=True)
        known = rows
    say(known)


def settings_of(plan: str, steps: int, home: Path, *, seed: int, device: str) -> Settings:
    """A plan that changes something on purpose, in proportion to the run's length."""
    plain = Settings(home=home, steps=steps, seed=seed, device=device, checkpoint_every=100)
    match plan:
        case "cosine":
            return replace(plain, schedule="cosine")
        case "mixture":
            first, second, third = round(0.3 * steps), round(0.5 * steps), round(0.65 * steps)
            shares = f"0.2,0.4,0.4@0;0.1,0.6,0.3@{first};0.3,0.2,0.5@{second}-{third}"
            return replace(plain, mixture=parse_mixture(shares))
        case "ramp":
            # The average update is that of the other plans, nearly: 16, 32 and 64 sequences.
            ramp = ((0, 2), (round(0.4 * steps), 4), (round(0.75 * steps), 8))
            return replace(plain, batch_size=8, ramp=ramp)
    return plain


def _work(steps: int, device: str, run: Run, folder: Path) -> Row:
    plan, seed = run
    home = folder / "run"
    if Ranks().rank == 0 and home.exists() and not (home / "journal").exists():
        shutil.rmtree(home)
    settings = settings_of(plan, steps, home, seed=seed, device=device)
    train(settings, corpus=forks.corpus(seed))
    return guarded.figures(home)


def say(rows: Sequence[Row]) -> None:
    """What was done to healthy runs, by plan."""
    good = [row for row in rows if "error" not in row]
    print("\nplan        runs  ended  incidents  remedies  held back  causes")
    for plan in PLANS:
        mine = [row for row in good if row["plan"] == plan]
        if mine:
            causes = Counter(cause for row in mine for cause in row["causes"])
            print(
                f"{plan:10} {len(mine):5} {sum(row['nll'] is not None for row in mine):6} "
                f"{sum(row['incidents'] for row in mine):10} {sum(row['acts'] for row in mine):9} "
                f"{sum(row['held'] for row in mine):10}  {dict(causes)}"
            )
    touched = sum(bool(row["acts"] or row["held"]) for row in good)
    steps = sum(row["made"] for row in good)
    print(
        f"{len(good)} fault-free runs, {steps} steps: {touched} were touched, "
        f"{sum(row['incidents'] for row in good)} incidents"
    )
    if good:
        seconds = [row["seconds"] for row in good if row["seconds"] is not None]
        print(f"seconds of a step: median {statistics.median(seconds):.3f}")


def _line(row: Row) -> str:
    if "error" in row:
        return f"{row['plan']} {row['seed']}: FAILED {row['error'][-300:]}"
    return (
        f"{row['plan']} {row['seed']}: incidents {row['incidents']}, remedies {row['acts']}, held "
        f"back {row['held']}, causes {row['causes']}"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default="", help=f"plans, with commas: {', '.join(PLANS)}")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path, help="rows go here; those in it are not made again")
    parser.add_argument("--print", action="store_true", help="only the table of what --json holds")
    parser.add_argument("--keep", type=Path, help="folder for the runs")
    return parser.parse_args()


if __name__ == "__main__":
    main()
