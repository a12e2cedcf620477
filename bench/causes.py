"""Is the cause named? Every fault of the lab in runs of its model, several seeds, a table of names.

    PYTHONPATH=src:bench python bench/causes.py --seeds 5

Each run has six or so faults, far enough apart to be told from each other. A fault is named rightly
when the first cause of the first diagnosis of its incident is the one that was injected, with the
class of its text; a mixture that moves alone must be told without an incident. Another cause at a
confidence of 0.9 or more counts as wrong with high confidence.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import machine
from steadytrain import journal
from steadytrain.events import Advice, BatchExamined, Diagnosis, Event, Incident, StepRecord
from steadytrain.lab import faults
from steadytrain.lab.faults import EXPECTED_CAUSE, EXPECTED_DEFECT, Fault
from steadytrain.lab.texts import Corpus
from steadytrain.wording import cause_words

GROUPS = (
    ("garbled:zh", "garbled:en", "garbled:code", "newlines:zh", "newlines:en", "newlines:code"),
    ("encoded:zh", "encoded:en", "encoded:code", "repetition:zh", "repetition:en",
     "repetition:code"),
    ("markup:zh", "markup:en", "wrong-domain:zh", "wrong-domain:en", "wrong-domain:code"),
    ("repeated-batch", "mixture", "outbreak", "learning-rate"),
    ("logits",),
    ("adam-reset", "optimizer", "betas", "epsilon", "gradient", "weights", "moments"),
)  # fmt: skip
STEPS_FOR_EACH = 56
SURE = 0.9
BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default="", help="groups by number, from 0, with commas; rank")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder for the runs")
    options = parser.parse_args()
    print(machine.line())
    wanted = [one for one in options.only.split(",") if one]
    work = [
        (seed, names)
        for seed in range(options.first_seed, options.first_seed + options.seeds)
        for at, names in enumerate((*GROUPS, ("rank",)))
        if not wanted or str(at) in wanted or names[0] in wanted
    ]
    with tempfile.TemporaryDirectory() as scratch:
        root = options.keep or Path(scratch)
        with multiprocessing.Pool(options.jobs) as pool:
            rows = [
                row for rows in pool.starmap(_run, [(root, *one) for one in work]) for row in rows
            ]
    _say(rows)


def _run(root: Path, seed: int, names: tuple[str, ...]) -> list[dict[str, object]]:
    """One run with these faults, and what was said of each."""
    home = root / f"{names[0].replace(':', '-')}-{seed}" / "run"
    corpus = Corpus.load(seed=seed)
    steps = round((STEPS_FOR_EACH * len(names) + 100) / 0.84) + 10
    planned = faults.plan(
        names, steps=steps, seed=seed, domains=corpus.domains, draws_per_step=BATCH
    )
    plan = home.parent / "faults.json"
    faults.save(planned, plan)
    command = [
        sys.executable, "-m", "steadytrain.lab.train", "--home", str(home), "--steps", str(steps),
        "--seed", str(seed), "--fault-plan", str(plan),
    ]  # fmt: skip
    if names == ("rank",):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
                   "--nproc-per-node", "2", *command[1:]]  # fmt: skip
    with (home.parent / "log.txt").open("wb") as log:
        subprocess.run(command, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"})
    events = journal.load(home, "rank0")
    return [_graded(one, seed, corpus.domains, events) for one in planned]


def _graded(
    fault: Fault,
    seed: int,
    domains: tuple[str, ...],
    events: list[Event],
) -> dict[str, object]:
    began = _first_affected(fault, events)
    incidents = [
        one for one in events
        if isinstance(one, Incident) and one.change == "opened" and began <= one.step < began + 40
    ]  # fmt: skip
    domain = (
        f":{domains[fault.domain]}"
        if fault.domain is not None and fault.kind in faults.IN_TEXT
        else ""
    )
    row: dict[str, object] = {"fault": fault.kind + domain, "seed": seed, "step": fault.step}
    if fault.kind == "mixture":
        told = [one for one in events if isinstance(one, Advice) and one.topic == "mixture"]
        row |= {"cause": "mixture" if told else "missed", "confidence": 1.0, "right": bool(told)}
        if incidents:
            row |= {"cause": "an incident", "right": False}
        return row
    if not incidents:
        return row | {"cause": "missed", "confidence": 0.0, "right": False}
    mine = incidents[0].id
    diagnoses = [one for one in events if isinstance(one, Diagnosis) and one.incident == mine]
    seen = [one for one in events if isinstance(one, BatchExamined) and one.incident == mine]
    if not diagnoses:
        return row | {"cause": "no diagnosis", "confidence": 0.0, "right": False}
    cause = diagnoses[0].causes[0]
    right = cause.name == EXPECTED_CAUSE[fault.kind]
    right = right and cause.defect == EXPECTED_DEFECT.get(fault.kind)
    return row | {
        "cause": cause_words(cause, "en"), "confidence": cause.confidence, "right": right,
        "late": incidents[0].step - began, "remade": seen[0].remade_steps if seen else None,
        "seconds": seen[0].seconds if seen else None,
        "others": [f"{one.name} {one.confidence:.2f}" for one in diagnoses[0].causes[1:3]],
    }  # fmt: skip


def _first_affected(fault: Fault, events: list[Event]) -> int:
    """Skipped draws make a fault that goes by draws come earlier than planned."""
    records = (one for one in events if isinstance(one, StepRecord))
    if fault.first_draw is None:
        return fault.step
    return next((one.step for one in records if one.draw_end > fault.first_draw), fault.step)


def _say(rows: list[dict[str, object]]) -> None:
    by_fault: dict[str, list[dict[str, object]]] = defaultdict(list)
    for row in rows:
        by_fault[str(row["fault"])].append(row)
    for name, mine in by_fault.items():
        causes = Counter(str(row["cause"]) for row in mine)
        right = sum(bool(row["right"]) for row in mine)
        print(f"{name:<20} {right}/{len(mine)}  {dict(causes)}")
    for row in rows:
        if not row["right"]:
            print("  wrong:", json.dumps(row))
    right = sum(bool(row["right"]) for row in rows)
    missed = sum(row["cause"] == "missed" for row in rows)
    sure = sum(not row["right"] and float(str(row["confidence"])) >= SURE for row in rows)
    remade = [int(str(row["remade"])) for row in rows if row.get("remade") is not None]
    seconds = [float(str(row["seconds"])) for row in rows if row.get("seconds") is not None]
    print(
        f"{len(by_fault)} faults, {len(rows)} trials: rightly named {right} ({right / len(rows):.3f}), "
        f"missed {missed}, wrong at {SURE} or more {sure} ({sure / len(rows):.3f})"
    )
    if remade:
        print(
            f"steps made again: {sum(remade) / len(remade):.1f} on average, {max(remade)} at most; an "
            f"examination took {sorted(seconds)[len(seconds) // 2]:.2f} s (median), {max(seconds):.2f} "
            "s at most"
        )


if __name__ == "__main__":
    main()
