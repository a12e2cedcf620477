"""A decay branch: the learning rate decays on a branch while the stable run goes on.

python examples/decay_branch.py --home runs/decay

The stable run (in HOME-stable) keeps its learning rate, so it never has to be planned to its end. A
branch takes its newest healthy checkpoint and decays from there: a finished model at any time.
"""

import argparse
import os
from pathlib import Path

import torch
from plain_loop import Recurrent, Sums

from steadytrain import journal
from steadytrain.events import RunBranched, StepRecord
from steadytrain.train import Feed, Session, WarmupStableDecay, branch_step

PEAK = 3e-3


def train(home: Path, steps: int, schedule: WarmupStableDecay, parent: Path | None = None) -> None:
    """An ordinary guarded loop; with a parent it begins where that was healthy last."""
    torch.manual_seed(0)
    model = Recurrent()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK, fused=True)
    feed = Feed(Sums(), batch_size=16)
    with Session(
        model,
        optimizer,
        feed,
        home=home,
        steps=steps,
        schedule=schedule,
        checkpoint_every=10,
        branch_from=parent,
    ) as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--home", type=Path, default=Path(os.environ.get("STEADYTRAIN_HOME", "runs/decay"))
    )
    parser.add_argument("--steps", type=int, default=200, help="updates of the stable run (200)")
    parser.add_argument("--decay", type=int, default=20, help="updates of the decay (20)")
    options = parser.parse_args()

    stable = options.home.with_name(f"{options.home.name}-stable")
    # No decay: this run could go on for ever. It may be running while the branch begins.
    constant = WarmupStableDecay(peak=PEAK, steps=options.steps, warmup=10, decay=0)
    train(stable, options.steps, constant)

    # A branch that was restarted goes on where it began, whatever the parent has saved since.
    begin = branch_step(stable, home=options.home)
    end = begin + options.decay
    decay = WarmupStableDecay(peak=PEAK, steps=end, warmup=10, decay=options.decay)
    train(options.home, end, decay, parent=stable)

    (branched,) = [one for one in journal.read(options.home) if isinstance(one, RunBranched)]
    rates = [one.lr for one in journal.read(options.home) if isinstance(one, StepRecord)]
    print(
        f"{options.home} began at step {branched.step} of {branched.run} and decayed the learning "
        f"rate from {rates[0]:.2e} to {rates[-1]:.2e}; {stable} can go on at {PEAK:.2e}"
    )


if __name__ == "__main__":
    main()
