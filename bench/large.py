"""The demo's faults on a model of 100 million parameters and one GPU: seen, named, cured?

    PYTHONPATH=src:bench python bench/large.py --domain zh=zh.jsonl --domain en=en.jsonl \
        --domain code=code.jsonl --keep runs/large

Two runs at once on the same GPU, under the supervisor: one with the nine faults of `steadytrain
demo` (three of them kill, freeze or tear from outside), one undisturbed. Bytes, 14 layers of 768,
context 512, 32 sequences an update, TF32. Prints a line for each fault and the final panel of both.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import machine
from steadytrain import journal
from steadytrain.events import CheckpointSaved, RunBegan, StepRecord
from steadytrain.lab import demo, faults, grading
from steadytrain.lab.model import Config
from steadytrain.lab.options import parse_domains
from steadytrain.lab.train import Settings, load_corpus, train

BATCH, HANG_AFTER = 32, 15.0
PEAK = 6e-4
"""Learning rate. Source: GPT-3's model of 125 M parameters (Brown et al. 2020, table 2.1)."""


def main() -> None:
    options = _options()
    if options.home is not None:
        torch.set_float32_matmul_precision("high")
        train(_settings(options, options.home, options.plan))
        return
    with tempfile.TemporaryDirectory() as scratch:
        _compare(options, options.keep or Path(scratch))


def _compare(options: argparse.Namespace, root: Path) -> None:
    settings = _settings(options, root / "guarded", None)
    corpus = load_corpus(settings)
    names = tuple(options.faults.split(","))
    planned = faults.plan(
        names, steps=options.steps, seed=options.seed, domains=corpus.domains, draws_per_step=BATCH
    )
    plan = root / "lab" / "faults.json"
    faults.save(planned, plan)
    homes = root / "guarded", root / "undisturbed"
    began = time.monotonic()
    runs = [_begin(home, plan if home is homes[0] else None) for home in homes]
    outside = demo.Outside(homes[0], planned)
    outside.start()
    codes = [run.wait() for run in runs]
    outside.stop()
    print(machine.line())
    print(f"both runs in {time.monotonic() - began:.0f} s, exit codes {codes}")
    for home in homes:
        _say_pace(home)
    for one in grading.grade(homes[0], planned):
        after = "missed" if one.detected_after is None else f"after {one.detected_after} steps"
        print(
            f"  {'ok ' if one.is_passed else 'NOT'} {one.fault} at {one.step}: {after}; "
            f"{one.diagnosis}; {one.remedy}; {one.outcome}; {one.steps_lost} steps lost"
        )
    for other in grading.compare(*homes, corpus.domains, planned):
        print(
            f"  panel {other.domain}: {other.perplexity:.4f} guarded, {other.reference:.4f} "
            f"undisturbed, {other.change:+.2%}"
        )
    false = grading.false_incidents(homes[0], planned), grading.false_incidents(homes[1], ())
    print(f"  incidents that nothing explains: {false[0]} and {false[1]}")


def _begin(home: Path, plan: Path | None) -> subprocess.Popen[bytes]:
    home.mkdir(parents=True)
    given = [*sys.argv[1:], "--home", str(home), *(["--plan", str(plan)] if plan else [])]
    command = [sys.executable, "-m", "steadytrain", "run", "--home", str(home)]
    command += ["--hang-after", str(HANG_AFTER), "--", sys.executable, __file__, *given]
    with open(home / "output.log", "wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=os.environ)


def _say_pace(home: Path) -> None:
    events = list(journal.read(home))
    seconds = [one.seconds for one in events if isinstance(one, StepRecord)]
    size = next(one.parameters for one in events if isinstance(one, RunBegan))
    saved = [one for one in events if isinstance(one, CheckpointSaved)]
    print(
        f"{home.name}: {size / 1e6:.1f} M parameters, {len(seconds)} updates, median "
        f"{1e3 * statistics.median(seconds):.0f} ms, {len(saved)} checkpoints"
    )


def _settings(options: argparse.Namespace, home: Path, plan: Path | None) -> Settings:
    config = Config(
        width=options.width, layers=options.layers, heads=options.heads, context=options.context
    )
    return Settings(
        home=home,
        steps=options.steps,
        seed=options.seed,
        config=config,
        domains=parse_domains(options.domain),
        fault_plan=plan,
        batch_size=BATCH,
        peak=PEAK,
        device=options.device,
        checkpoint_every=100,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--domain", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--faults", default=",".join(faults.DEMO), help="with commas")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    for name, default in (("width", 768), ("layers", 14), ("heads", 12), ("context", 512)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--keep", type=Path, help="folder for the runs")
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--plan", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
