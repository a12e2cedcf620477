"""Which policy brings a run through what goes wrong? Faults x seeds x policies, one table.

    PYTHONPATH=src:bench python bench/cures.py --jobs 2 --json cures.jsonl
    PYTHONPATH=src:bench python bench/cures.py --json cures.jsonl --print     # what there is so far

One fault in each run: the 30 of bench/causes.py. A run has 500 steps; what all runs of a seed have in
common, the 300 steps before anything is wrong, is trained once and every cell goes on from there:
exactly, since a resumed run repeats itself to the bit. The fault comes 16 to 47 steps later, the
decay begins at step 400. Policies hear of the 300 steps what they would have heard; none has
changed anything yet. Same weights, data, faults, seeds and steps for every policy.

Outcome, the same for all and from nothing but the end of the run: *healthy* is a run that made its
last step, with finite weights, and whose panel is in no domain more than 3 % above the run of the
same seed without faults and without a policy. Lost are updates that were computed and are not in
the final weights, and those that were never made because the run ended early. A policy's acts are
what it did that the bare loop would not have done; "alone" counts healthy runs in which no person
was needed: killed runs wait for one, PaLM's recipe is one, and ours may ask.

A run called "calm" has no fault: what a policy costs when nothing is wrong.
"""

import argparse
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import forks
import guarded
from causes import GROUPS
from forks import Row
from policies import NEEDS_PERSON, POLICIES, Loop, NoGuard
from steadytrain.lab import faults
from steadytrain.lab.faults import Fault
from steadytrain.lab.texts import Corpus
from steadytrain.lab.train import Settings, assemble, train
from steadytrain.train import Ranks

CALM = "calm"
RUNS = (CALM, *(name for group in GROUPS for name in group), "rank")
OURS = "ours"
BEFORE = "before"
"""The policy of cells that train what all cells of a seed have in common."""

NAMES = (*POLICIES, OURS)
TOLERANCE = 0.03
"""As `lab.grading.TOLERANCE`: twice the jitter between two looks of the lab's model."""

FIRST, SPREAD = 16, 32
"""A fault comes so many steps after the branch, and up to so many more."""

BATCH = 32

HEADER = (
    "                runs healthy  alone   lost steps       lost  left out  acts   panel, worst domain\n"
    "                                    mean  most   over 5 %     draws  mean    median    worst"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """What all runs have in common."""

    root: str
    steps: int = 500
    branch: int = 300
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One run: what goes wrong, its seed, and who watches."""

    run: str
    seed: int
    policy: str

    @property
    def world(self) -> int:
        return 2 if self.run == "rank" else 1

    @property
    def key(self) -> tuple[str, int, str]:
        return self.run, self.seed, self.policy


def main() -> None:
    options = _options()
    known = forks.read_rows(options.json)
    if options.print:
        say(known)
        return
    forks.say_machine(options.device)
    with tempfile.TemporaryDirectory() as scratch:
        frame = Frame(
            root=str(options.keep or scratch), steps=options.steps, branch=options.branch,
            device=options.device,
        )  # fmt: skip
        rows = [row for row in known if _plain(frame).items() <= row.items()]
        done = {(row["run"], row["seed"], row["policy"]) for row in rows if not row.get("error")}
        seeds = range(options.first_seed, options.first_seed + options.seeds)
        cells = [
            Cell(run=run, seed=seed, policy=policy)
            for seed in seeds
            for run in _chosen(options.only, RUNS)
            for policy in _chosen(options.policies, NAMES)
        ]
        cells += [Cell(run=CALM, seed=seed, policy="no guard") for seed in seeds]  # the reference
        cells = [cell for cell in dict.fromkeys(cells) if cell.key not in done]
        for row in in_parallel(frame, cells, jobs=options.jobs):
            rows.append(row)
            forks.append_row(options.json, row)
            print(_line(row), flush=True)
    say(rows)


def in_parallel(frame: Frame, cells: Sequence[Cell], *, jobs: int) -> Iterable[Row]:
    """The rows of cells as they come; what their seeds have in common is trained first."""
    common = sorted({(cell.seed, cell.world) for cell in cells})
    before = [
        Cell(run="rank" if world == 2 else CALM, seed=seed, policy=BEFORE) for seed, world in common
    ]
    for seed in {cell.seed for cell in cells}:
        forks.corpus(seed)  # read before forking
    broken = set()
    for part in (before, cells):
        left = [cell for cell in part if (cell.seed, cell.world) not in broken]
        run, place = partial(_run, frame), partial(_folder, frame)
        for cell, found in forks.run_all(run, left, folder=place, jobs=jobs):
            if part is before and "error" in found:
                broken.add((cell.seed, cell.world))
            if part is cells or "error" in found:
                own = {"run": cell.run, "seed": cell.seed, "policy": cell.policy}
                yield own | _plain(frame) | found


def _run(frame: Frame, cell: Cell, folder: Path) -> Row:
    """A cell in this process, or in two of its own."""
    if cell.policy == BEFORE and (folder / "row.json").exists():
        return {}  # of an earlier bench in the same folder
    forks.empty(folder)
    if cell.world == 1:
        _work(frame, cell)
    else:
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
            __file__, "--frame", json.dumps(asdict(frame)), "--cell", json.dumps(asdict(cell)),
        ]  # fmt: skip
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, timeout=forks.PATIENCE_SECONDS, env=environment)
    if cell.policy == BEFORE:
        return {}
    shutil.rmtree(folder / "run", ignore_errors=True)
    return json.loads((folder / "row.json").read_text())


def _work(frame: Frame, cell: Cell) -> None:
    """Train a cell and write its row; rank 0 writes."""
    ranks = Ranks.join()
    folder = _folder(frame, cell)
    corpus = forks.corpus(cell.seed)
    planned = _fault(frame, cell, corpus)
    plan = folder / "faults.json"
    if ranks.rank == 0:
        faults.save(planned, plan)
    ranks.tell(None)  # wait until it is written
    settings = Settings(
        home=folder / "run",
        steps=frame.steps,
        seed=cell.seed,
        fault_plan=plan,
        device="cpu" if cell.world == 2 else frame.device,
        batch_size=BATCH,
        checkpoint_every=min(50, frame.branch),
    )
    before = _folder(frame, replace(cell, run="rank" if cell.world == 2 else CALM, policy=BEFORE))
    if cell.policy == BEFORE:
        loop = Loop(assemble(settings, ranks, corpus=corpus), NoGuard(), ranks)
        loop.run(frame.branch)
        if ranks.rank == 0:
            loop.save(folder / "plain.pt")
        train(replace(settings, stop_after=frame.branch), corpus=corpus)
        found: Row = {}
    elif cell.policy == OURS:
        if ranks.rank == 0:
            shutil.copytree(before / "run", folder / "run")
        ranks.tell(None)
        train(settings, corpus=corpus)
        found = guarded.figures(folder / "run", since=frame.branch) if ranks.rank == 0 else {}
    else:
        loop = Loop(assemble(settings, ranks, corpus=corpus), POLICIES[cell.policy](), ranks)
        loop.load(before / "plain.pt")
        ran = asdict(loop.run(frame.steps))
        found = {name: ran[name] for name in guarded.SHARED}
        found["persons"] = ran["acts"] if cell.policy in NEEDS_PERSON else 0
    if ranks.rank == 0:
        (folder / "row.json").write_text(json.dumps(found))


def _fault(frame: Frame, cell: Cell, corpus: Corpus) -> tuple[Fault, ...]:
    if cell.run == CALM or cell.policy == BEFORE:
        return ()
    chance = random.Random(f"cures-{cell.seed}-{cell.run}")
    step = frame.branch + FIRST + chance.randrange(SPREAD)
    return (faults.at(cell.run, step, chance, domains=corpus.domains, draws_per_step=BATCH),)


def _folder(frame: Frame, cell: Cell) -> Path:
    name = f"{cell.run}-{cell.seed}-{cell.policy}".replace(":", "-").replace(" ", "-")
    return Path(frame.root) / name


def say(rows: Sequence[Row]) -> None:
    """The tables of what there is."""
    rows = [row for row in rows if not row.get("error") and row["policy"] != BEFORE]
    reference = {
        row["seed"]: row["nll"] for row in rows if (row["run"], row["policy"]) == (CALM, "no guard")
    }
    rows = [judged(row, reference[row["seed"]]) for row in rows if row["seed"] in reference]
    policies = [name for name in NAMES if any(row["policy"] == name for row in rows)]
    print(f"\n{HEADER}")
    for name in policies:
        mine = [row for row in rows if row["policy"] == name and row["run"] != CALM]
        if mine:
            print(f"{name:14}" + summary(mine))
    print("\nwithout a fault")
    for name in policies:
        mine = [row for row in rows if row["policy"] == name and row["run"] == CALM]
        if mine:
            print(f"{name:14}" + summary(mine))
    print("\nhealthy of runs" + "".join(f"{name:>14}" for name in policies))
    for run in RUNS:
        cells = []
        for name in policies:
            mine = [row for row in rows if (row["run"], row["policy"]) == (run, name)]
            good = sum(row["healthy"] for row in mine)
            cells.append(f"{good}/{len(mine)}" if mine else "")
        if any(cells):
            print(f"{run:15}" + "".join(f"{cell:>14}" for cell in cells))
    for row in rows:
        if row["policy"] == OURS and not (row["healthy"] and not row["persons"]):
            print("  not healthy alone:", json.dumps(row))


def judged(row: Row, reference: Sequence[float]) -> Row:
    """The row with what its end says: healthy or not, by how much off, what was lost."""
    change = math.inf
    if row["nll"] is not None and all(math.isfinite(one) for one in row["nll"]):
        pairs = zip(row["nll"], reference, strict=True)
        change = max(math.exp(min(50.0, nll - other)) - 1 for nll, other in pairs)
    return row | {
        "change": change,
        "healthy": row["is_finite"] and change <= TOLERANCE,
        "lost": row["made"] - row["landed"] + row["steps"] - row["reached"],
    }


def summary(rows: Sequence[Row]) -> str:
    lost = [row["lost"] for row in rows]
    changes = [row["change"] for row in rows]
    healthy = sum(row["healthy"] for row in rows)
    alone = sum(row["healthy"] and not row["persons"] for row in rows)
    over = sum(one > 0.05 * row["steps"] for one, row in zip(lost, rows, strict=True))
    return (
        f"{len(rows):6} {healthy / len(rows):7.3f} {alone / len(rows):6.3f} "
        f"{statistics.mean(lost):6.1f} {max(lost):5} {over:10} "
        f"{statistics.mean(row['left_out'] for row in rows):9.0f} "
        f"{statistics.mean(row['acts'] for row in rows):5.1f} "
        f"{statistics.median(changes):+9.2%} {max(changes):+8.1%}"
    )


def _line(row: Row) -> str:
    if row.get("error"):
        return f"{row['run']} {row['seed']} {row['policy']}: FAILED {row['error'][-200:]}"
    nll = None if row["nll"] is None else [round(one, 4) for one in row["nll"]]
    return (
        f"{row['run']} {row['seed']} {row['policy']}: reached {row['reached']}, made {row['made']}, "
        f"landed {row['landed']}, acts {row['acts']}, panel {nll}"
    )


def _chosen(given: str, known: Sequence[str]) -> list[str]:
    names = [one.strip() for one in given.split(",") if one.strip()] or list(known)
    odd = [one for one in names if one not in known]
    if odd:
        raise SystemExit(f"unknown: {', '.join(odd)}. Choose from: {', '.join(known)}")
    return names


def _plain(frame: Frame) -> Row:
    """The frame in a row: all but where it lay."""
    return {name: value for name, value in asdict(frame).items() if name != "root"}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default="", help=f"runs, with commas: {', '.join(RUNS)}")
    parser.add_argument("--policies", default="", help=f"with commas: {', '.join(NAMES)}")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--branch", type=int, default=300)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--json", type=Path, help="rows are appended here; those in it are not made again"
    )
    parser.add_argument("--print", action="store_true", help="only the tables of what --json holds")
    parser.add_argument("--keep", type=Path, help="folder for the runs")
    parser.add_argument("--frame", help=argparse.SUPPRESS)
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell:
        _work(Frame(**json.loads(options.frame)), Cell(**json.loads(options.cell)))
        sys.exit()
    return options


if __name__ == "__main__":
    main()
