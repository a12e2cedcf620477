"""Real instability, nothing injected: learning rates that are too high, and what holds them.

    PYTHONPATH=src:bench python bench/unstable.py --jobs 2 --json unstable.jsonl

Whole runs of the small proxy of bench/diseases.py at 16, 64 and 250 times its best learning rate,
each plain and with one stabiliser built in from the first step (z-loss, QK-norm, both, embedding
gradient x0.1, soft cap, cosine instead of WSD), under each policy of bench/cures.py and under ours.
Small proxies show at such rates what large models show at usual ones (Wortsman et al. 2023).

The outcome is that of bench/cures.py: healthy is a run that ends with finite weights and a panel no
more than 3 % above the run of the same seed at the best rate, without a guard, in each domain.
Told of is a run of ours that said its model knows little but how often each token occurs.
"""

import argparse
import json
import math
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import forks
import guarded
from cures import HEADER, NAMES, OURS, judged, summary
from diseases import BATCH, PROXY, STEPS
from forks import Row
from policies import NEEDS_PERSON, POLICIES, Loop
from steadytrain.lab.train import Settings, assemble, train
from steadytrain.train import Ranks

BEST = 4e-3
"""The best of the rates of `bench/remedies.py --sweep` for this proxy."""

TIMES = (16, 64, 250)
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "z-loss 1e-4": {"z_loss": 1e-4},
    "QK-norm": {"config": replace(PROXY, qk_norm=True)},
    "QK-norm, z-loss": {"config": replace(PROXY, qk_norm=True), "z_loss": 1e-4},
    "embedding x0.1": {"config": replace(PROXY, embed_shrink=0.1)},
    "soft cap 30": {"config": replace(PROXY, softcap=30.0)},
    "cosine": {"schedule": "cosine"},
}

Run = tuple[int, str, int, str]
"""Times the best rate, variant, seed, policy."""


def main() -> None:
    options = _options()
    rows = forks.read_rows(options.json)
    if not options.print:
        forks.say_machine(options.device)
        done = {_key(row) for row in rows if "error" not in row}
        variants = [one for one in options.only.split(",") if one] or list(VARIANTS)
        policies = [one for one in options.policies.split(",") if one] or list(NAMES)
        runs: list[Run] = []
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            forks.corpus(seed, PROXY)  # read before forking
            runs.append((1, "plain", seed, "no guard"))
            runs += [
                (times, variant, seed, policy)
                for times in TIMES
                for variant in variants
                for policy in policies
            ]
        with tempfile.TemporaryDirectory() as scratch:
            root = options.keep or Path(scratch)
            found = forks.run_all(
                partial(_work, options.device),
                [run for run in runs if run not in done],
                folder=lambda run: root / "-".join(map(str, run)).replace(" ", "_"),
                jobs=options.jobs,
            )
            for (times, variant, seed, policy), row in found:
                row = {"times": times, "variant": variant, "seed": seed, "policy": policy} | row
                forks.append_row(options.json, row)
                rows.append(row)
                print(json.dumps(row), flush=True)
    say(rows)


def _work(device: str, run: Run, folder: Path) -> Row:
    times, variant, seed, policy = run
    forks.empty(folder)
    settings = Settings(
        **{
            "home": folder / "run", "steps": STEPS, "seed": seed, "config": PROXY,
            "batch_size": BATCH, "device": device, "peak": BEST * times,
        } | VARIANTS[variant]
    )  # fmt: skip
    if policy == OURS:
        train(settings, corpus=forks.corpus(seed, PROXY))
        found = guarded.figures(settings.home)
    else:
        parts = assemble(settings, Ranks(), corpus=forks.corpus(seed, PROXY))
        ran = asdict(Loop(parts, POLICIES[policy](), Ranks(), z_loss=settings.z_loss).run(STEPS))
        found = {name: ran[name] for name in guarded.SHARED}
        found["persons"] = ran["acts"] if policy in NEEDS_PERSON else 0
    return {"steps": STEPS, "device": device} | found


def say(rows: Sequence[Row]) -> None:
    """What each policy made of the plain runs; and the panel by rate, variant and policy."""
    rows = [row for row in rows if "error" not in row]
    reference = {row["seed"]: row["nll"] for row in rows if row["times"] == 1}
    rows = [
        judged(row, reference[row["seed"]])
        for row in rows
        if row["seed"] in reference and row["times"] > 1
    ]
    policies = [name for name in NAMES if any(row["policy"] == name for row in rows)]
    for times in TIMES:
        print(f"\n{times} times the best rate, plain\n{HEADER}")
        for name in policies:
            mine = [
                row
                for row in rows
                if (row["times"], row["variant"], row["policy"]) == (times, "plain", name)
            ]
            if mine:
                print(f"{name:14}" + summary(mine))
            if name == OURS and mine:
                told = sum("unigram" in row.get("advice", ()) for row in mine)
                print(f"{'':14}told of as no better than counting tokens: {told} of {len(mine)}")
    print("\nmedian panel perplexity (worst domain) above the run at the best rate")
    print(f"{'':22}" + "".join(f"{name:>14}" for name in policies))
    for times in TIMES:
        for variant in VARIANTS:
            cells = []
            for name in policies:
                changes = [
                    row["change"]
                    for row in rows
                    if (row["times"], row["variant"], row["policy"]) == (times, variant, name)
                ]
                cells.append(_median(changes))
            if any(cells):
                print(f"x{times:<4} {variant:16}" + "".join(f"{cell:>14}" for cell in cells))


def _median(changes: Sequence[float]) -> str:
    if not changes:
        return ""
    middle = statistics.median(changes)
    return f"{middle:+.1%}" if math.isfinite(middle) else "did not end"


def _key(row: Row) -> Run:
    return row["times"], row["variant"], row["seed"], row["policy"]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default="", help=f"variants, with commas: {', '.join(VARIANTS)}")
    parser.add_argument("--policies", default="", help=f"with commas: {', '.join(NAMES)}")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path, help="rows go here; those in it are not made again")
    parser.add_argument("--print", action="store_true", help="only the tables of what --json holds")
    parser.add_argument("--keep", type=Path, help="folder for the runs")
    return parser.parse_args()


if __name__ == "__main__":
    main()
