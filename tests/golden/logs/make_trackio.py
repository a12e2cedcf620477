"""Writes the golden files of trackio with trackio itself: `pip install trackio==0.43.0`.

Run it with `sqlite` and with `jsonl`. Nothing of the machine is in them. Of the database only
`metrics` is kept, in WAL mode as it was: `configs` holds the user's name, and the others, empty as
they are, take 150 kB. Of the inbox, the first file is kept.
"""

import math
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import uuid
from pathlib import Path

HOME = Path(__file__).parent / "trackio"
LOSSES = [2.5, math.nan, math.inf, -math.inf, 0.1, 0.0, -0.0, 3e38, 5e-324, 7]


def main() -> None:
    dice = random.Random(0)  # the same ids every time
    uuid.uuid4 = lambda: uuid.UUID(int=dice.getrandbits(128))
    import trackio  # it reads its settings when it is imported

    for name in ("plain", "plain", "other"):
        run = trackio.init(project="golden", name=name, auto_log_gpu=False, auto_log_cpu=False)
        for step, loss in enumerate(LOSSES):
            nested = {"lr": step / 1000, "deep": {"er": step}}
            run.log({"train/loss": loss, "opt": nested, "note": "text", "flag": True})
        run.log({"val/loss": 1.5, "weights": trackio.Histogram([1, 2])}, step=20)
        run.log({"train/loss": 9.0, "huge": 2**62}, step=3)
        run.log({"train/loss": None, "list": [1, 2]})
        trackio.finish()


def _slim(path: Path) -> None:
    database = sqlite3.connect(path)
    listed = database.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    ).fetchall()
    for (table,) in listed:
        if table != "metrics":
            database.execute(f"DROP TABLE {table}")
    database.commit()
    database.execute("VACUUM")
    database.close()


def _made_in(mode: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["TRACKIO_DIR"] = scratch
        os.environ["TRACKIO_STORAGE_MODE"] = mode
        main()
        HOME.mkdir(exist_ok=True)
        for made in Path(scratch).glob("*.db"):
            _slim(made)
            shutil.copyfile(made, HOME / made.name)
        for made in sorted(Path(scratch).glob("inbox/*/*.jsonl"))[:1]:
            shutil.copyfile(made, HOME / made.name)


if __name__ == "__main__":
    _made_in(sys.argv[1])  # sqlite, then jsonl
