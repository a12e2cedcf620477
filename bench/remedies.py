"""Does a single remedy help against its disease? With and without, the same seeds, paired.

    PYTHONPATH=src:bench python bench/remedies.py --jobs 2 --json remedies.jsonl
    PYTHONPATH=src:bench python bench/remedies.py --sweep       # where the proxy becomes unstable

The diseases and their remedies are the table in bench/diseases.py. A run is 240 steps of a small
proxy; it falls ill at step 60 and is treated from step 65 on, by a remedy that is installed by hand:
nobody judges, nothing is rolled back, the gate lets everything finite pass. So each figure is what
the remedy alone is worth.

The effect is the difference of the final loss of the panel (mean of its domains), with minus without,
over seeds, with its 95 % interval (Student's t). "helps" and "harms" are intervals without 0. Beside
it: the share of the harm that is undone, and what the disease shows in, mean of the last 16 steps.
"""

import argparse
import json
import math
import random
import statistics
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import forks
from diseases import BATCH, DISEASES, ILL, PROXY, STEPS, TREATED, Disease, Treatment
from forks import Row
from steadytrain import journal
from steadytrain.events import PanelRecord, Remedy, StepRecord
from steadytrain.judge.clocks import Clocks
from steadytrain.judge.judge import Judge
from steadytrain.lab import faults
from steadytrain.lab.train import Settings, assemble
from steadytrain.train import Ranks, Session

WELL, NONE = "well", "none"
"""A run without a disease, and a run without a treatment."""

T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Two-sided 95 % points of Student's t for 1 to 9 degrees of freedom."""

SWEPT = (4e-3, 1.6e-2, 6.4e-2, 0.256, 1.0)
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "QK-norm": {"config": replace(PROXY, qk_norm=True)},
    "z-loss 1e-4": {"z_loss": 1e-4},
    "both": {"config": replace(PROXY, qk_norm=True), "z_loss": 1e-4},
    "soft cap 30": {"config": replace(PROXY, softcap=30.0)},
    "cosine": {"schedule": "cosine"},
}

DEAF = Judge(detector=Clocks(burn_in=10**6), gate_sigmas=1e6, gate_loss=1e6, gate_grad=1e6)
"""Hears nothing and lets everything finite pass."""

Run = tuple[str, str, int]


def main() -> None:
    options = _options()
    rows = forks.read_rows(options.json)
    if not options.print:
        forks.say_machine(options.device)
        seeds = range(options.first_seed, options.first_seed + options.seeds)
        runs = _swept(seeds) if options.sweep else _paired(seeds, options.only)
        done = {
            (row["disease"], row["treatment"], row["seed"]) for row in rows if "error" not in row
        }
        runs = [run for run in dict.fromkeys(runs) if run not in done]
        for seed in {seed for *_, seed in runs}:
            forks.corpus(seed, PROXY)  # read before forking
        with tempfile.TemporaryDirectory() as scratch:
            root = options.keep or Path(scratch)
            found = forks.run_all(
                partial(_work, options.device), runs,
                folder=lambda run: root / "-".join(map(str, run)).replace(" ", "_").replace("/", "by"),
                jobs=options.jobs,
            )  # fmt: skip
            for (disease, treatment, seed), row in found:
                row = {"disease": disease, "treatment": treatment, "seed": seed} | row
                forks.append_row(options.json, row)
                rows.append(row)
                print(json.dumps(row), flush=True)
    say_sweep(rows)
    say(rows)


def _paired(seeds: Iterable[int], only: str) -> list[Run]:
    wanted = [one for one in only.split(",") if one]
    runs = []
    for seed in seeds:
        for name, disease in DISEASES.items():
            if not wanted or name in wanted:
                runs += [(WELL, NONE, seed), (name, NONE, seed)]
                runs += [(name, treatment, seed) for treatment in disease.treatments]
    return runs


def _swept(seeds: Iterable[int]) -> list[Run]:
    return [(f"lr {peak}", name, seed) for seed in seeds for peak in SWEPT for name in VARIANTS]


def _work(device: str, run: Run, folder: Path) -> Row:
    name, treated, seed = run
    forks.empty(folder)
    if name.startswith("lr ") and name not in DISEASES:
        disease = Disease(
            settings={"peak": float(name[3:])} | VARIANTS[treated], watched="update", treatments={}
        )
        treatment = Treatment()
    else:
        disease = DISEASES.get(name, Disease(treatments={}))
        treatment = disease.treatments.get(treated, Treatment())
    home = folder / "run"
    settings = Settings(
        **{
            "home": home, "steps": STEPS, "seed": seed, "config": PROXY, "batch_size": BATCH,
            "device": device, "fault_plan": _plan(disease, seed, folder),
        } | disease.settings | ({"config": treatment.config} if treatment.config else {})
    )  # fmt: skip
    _train(settings, disease, treatment)
    return _figures(home, disease.watched)


def _train(settings: Settings, disease: Disease, treatment: Treatment) -> None:
    """One run under a guard that hears nothing, with the remedy installed by hand."""
    ranks = Ranks()
    parts = assemble(settings, ranks, corpus=forks.corpus(settings.seed, PROXY))
    for group in parts.optimizer.param_groups:
        group.update(disease.optimizer)
    session = Session(
        parts.model, parts.optimizer, parts.feed, home=settings.home, steps=settings.steps,
        judge=DEAF, schedule=parts.schedule, panel=parts.panel, z_loss=settings.z_loss,
        panel_every=settings.steps, snapshot_every=10**6, checkpoint_every=10**6, provenance=False,
        read_texts=False, say=lambda _: None, fence=False,
    )  # fmt: skip
    with session as run:
        if treatment.plan:
            run._deeds.orders.install(by_hand(treatment))
        for batch in run:
            number = run.step_number + 1
            parts.saboteur.before_forward(number)
            if disease.before is not None:
                disease.before(parts, number)
            run.backward(parts.model(batch.tokens_BT), batch)
            if disease.gradients is not None:
                disease.gradients(parts, number)
            parts.saboteur.after_backward(number)
            run.step()


def by_hand(treatment: Treatment) -> Remedy:
    """The order that a treatment is."""
    return Remedy(
        id="by hand", incident="none", step=0, due=1, rung=0, cause="none", plan=treatment.plan,
        why="a bench asks what it is worth",
    )  # fmt: skip


def _plan(disease: Disease, seed: int, folder: Path) -> Path | None:
    if disease.fault is None:
        return None
    fault = faults.at(
        disease.fault, ILL, random.Random(f"remedies-{seed}"), domains=forks.corpus(seed, PROXY).domains,
        draws_per_step=BATCH,
    )  # fmt: skip
    if disease.lasts is not None:
        assert fault.first_draw is not None
        fault = replace(fault, end_draw=fault.first_draw + disease.lasts * BATCH)
    faults.save((fault,), folder / "faults.json")
    return folder / "faults.json"


def _figures(home: Path, watched: str) -> Row:
    events = journal.load(home, "rank0")
    records = [one for one in events if isinstance(one, StepRecord)]
    look = [one for one in events if isinstance(one, PanelRecord)][-1]
    losses = [loss / tokens for loss, tokens in zip(look.nll, look.tokens, strict=True)]
    later = [getattr(one, watched) for one in records if one.step > TREATED]
    found = [value for value in later if value is not None]
    last = [one.loss for one in records[-10:]]
    return {
        "final": statistics.mean(losses),
        "panel": losses,
        "watched": watched,
        "largest": max(found, default=None),
        "late": statistics.mean(found[-16:]) if found else None,
        "highest_loss": max(one.loss for one in records if one.step > ILL),
        "last_loss": statistics.mean(last),
        "held": sum(not one.committed for one in records),
        "spikes": _spikes([one.loss for one in records]),
    }


def _spikes(losses: Sequence[float]) -> int:
    """Steps after the warm-up whose loss is a fifth above the median of the 16 before."""
    return sum(
        not losses[at] <= 1.2 * statistics.median(losses[at - 16 : at])
        for at in range(40, len(losses))
    )


def say(rows: Sequence[Row]) -> None:
    """With against without, by disease."""
    found = {
        (row["disease"], row["treatment"], row["seed"]): row for row in rows if "error" not in row
    }
    for name, disease in DISEASES.items():
        seeds = sorted(seed for ill, treated, seed in found if (ill, treated) == (name, NONE))
        if not seeds:
            continue
        without = [found[name, NONE, seed] for seed in seeds]
        well = [found.get((WELL, NONE, seed)) for seed in seeds]
        harm = [ill["final"] - one["final"] for ill, one in zip(without, well, strict=True) if one]
        print(
            f"\n{name}: panel {statistics.mean(row['final'] for row in without):.4f} nats, harm "
            f"{_interval(harm)}; {disease.watched} {_late(without)}; spikes "
            f"{statistics.mean(row['spikes'] for row in without):.1f}"
        )
        print(
            f"  {'remedy':24}{'with minus without':>30}  {'undone':>7}  {'at the end':>10}  verdict"
        )
        for treatment in disease.treatments:
            pairs = [
                (found[name, treatment, seed], found[name, NONE, seed])
                for seed in seeds
                if (name, treatment, seed) in found
            ]
            if pairs:
                effects = [one["final"] - other["final"] for one, other in pairs]
                # Of a harm that is not there nothing can be undone.
                is_ill = bool(harm) and statistics.mean(harm) > 1e-4
                undone = -statistics.mean(effects) / statistics.mean(harm) if is_ill else math.nan
                print(
                    f"  {treatment:24}{_interval(effects):>30}  {undone:>7.0%}  "
                    f"{_late([one for one, _ in pairs]):>10}  {_verdict(effects)}"
                )


def say_sweep(rows: Sequence[Row]) -> None:
    """Final loss of the panel, and spikes, by learning rate and variant."""
    rates = {f"lr {peak}" for peak in SWEPT}
    swept = [row for row in rows if row["disease"] in rates and "error" not in row]
    if not swept:
        return
    print(
        f"\n{'peak':>8}" + "".join(f"{name:>18}" for name in VARIANTS) + "   panel, nats (spikes)"
    )
    for peak in SWEPT:
        cells = []
        for name in VARIANTS:
            mine = [
                row for row in swept if (row["disease"], row["treatment"]) == (f"lr {peak}", name)
            ]
            cells.append(
                f"{statistics.mean(row['final'] for row in mine):.3f} "
                f"({statistics.mean(row['spikes'] for row in mine):.1f})"
                if mine
                else ""
            )
        print(f"{peak:8}" + "".join(f"{cell:>18}" for cell in cells))


def _half_width(values: Sequence[float]) -> float:
    if len(values) < 2:
        return math.inf
    return T_95[len(values) - 2] * statistics.stdev(values) / math.sqrt(len(values))


def _interval(values: Sequence[float]) -> str:
    if not values:
        return ""
    return f"{statistics.mean(values):+.4f} +- {_half_width(values):.4f}"


def _verdict(effects: Sequence[float]) -> str:
    if len(effects) < 2:
        return "one seed tells nothing"
    if not all(map(math.isfinite, effects)):
        return "not finite"
    if abs(statistics.mean(effects)) <= _half_width(effects):
        return "no effect here"
    return "helps" if statistics.mean(effects) < 0 else "harms"


def _late(rows: Sequence[Row]) -> str:
    values = [row["late"] for row in rows if row["late"] is not None]
    return f"{statistics.mean(values):.3g}" if values else "-"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default="", help=f"with commas: {', '.join(DISEASES)}")
    parser.add_argument("--sweep", action="store_true", help="learning rates x variants instead")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path, help="rows go here; those in it are not made again")
    parser.add_argument("--print", action="store_true", help="only the tables of what --json holds")
    parser.add_argument("--keep", type=Path, help="folder for the runs")
    return parser.parse_args()


if __name__ == "__main__":
    main()
