"""Writes the golden files of W&B with W&B itself: `pip install wandb==0.31.0 numpy`, offline.

Nothing of the machine is in them: host and user are made up, its measurements are switched off.
"""

import math
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import wandb

HOME = Path(__file__).parent / "wandb"
LOSSES = [2.5, math.nan, math.inf, -math.inf, 0.1, 0.0, -0.0, 3e38, 5e-324, 7]
NUM_LONG_ROWS = 130
"""Enough to cross the border of a block of 32 KiB."""


def main() -> None:
    os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    with tempfile.TemporaryDirectory() as scratch:
        _plain(scratch)
        _typed(scratch)
        _long(scratch)
        HOME.mkdir(exist_ok=True)
        for made in sorted(Path(scratch).glob("wandb/offline-run-*/*.wandb")):
            shutil.copyfile(made, HOME / made.name)


def _begun(scratch: str, name: str, **settings: str) -> wandb.Run:
    return wandb.init(
        project="golden",
        name=name,
        id=f"{name}0001",
        config={"lr": 1e-3},
        settings=wandb.Settings(
            root_dir=scratch,
            host="host",
            username="user",
            program="train.py",
            console="off",
            disable_git=True,
            save_code=False,
            x_disable_stats=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            **settings,
        ),
    )


def _plain(scratch: str) -> None:
    with _begun(scratch, "plain") as run:
        run.define_metric("update")
        run.define_metric("val/*", step_metric="update")
        for step, loss in enumerate(LOSSES):
            nested = {"lr": step / 1000, "deep": {"er": step}}
            run.log({"train/loss": loss, "opt": nested, "note": "text", "flag": True})
        run.log({"val/loss": 1.5, "update": 40}, step=20)
        run.log({"val/loss": np.float32("nan"), "update": 50}, step=25)
        run.log({"train/loss": 9.0}, step=3)  # W&B drops it
        run.log({"train/loss": None, "huge": 2**70, "verlust \N{GREEK SMALL LETTER EPSILON}": 0.5})
        run.log({"train/loss": "oops", "spelled": "Infinity", "weights": wandb.Histogram([1, 2])})
        run.log({"page": wandb.Html("<p>"), "list": [1, 2], "n" * 130: 1})


def _typed(scratch: str) -> None:
    with _begun(scratch, "typed", x_history_value_encoding="json,typed") as run:
        for loss in (*LOSSES, -3, None, "text", True):
            run.log({"loss": loss, "opt": {"lr": 0.5}})


def _long(scratch: str) -> None:
    with _begun(scratch, "long") as run:
        for step in range(NUM_LONG_ROWS):
            run.log({"loss": 1 / (step + 1)}, step=10 * step)


if __name__ == "__main__":
    main()
