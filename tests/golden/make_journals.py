"""Makes tests/golden/journals/ anew: real runs of the rig, with what the judge concluded.

    PYTHONPATH=src:. python tests/golden/make_journals.py

A change of judgments is meant to show here, as a diff that somebody reads.
"""

import math
import shutil
import tempfile
from pathlib import Path

from tests import rig

from steadytrain.control import Word, send

JOURNALS = Path(__file__).parent / "journals"
STEPS = 80


def garbled(home: Path) -> None:
    """A bad shard, found, rolled back, left out and verified."""
    rig.train(home, steps=STEPS, garbled=range(40 * rig.BATCH, 43 * rig.BATCH))


def overflow(home: Path) -> None:
    """A gradient that is not finite, and a stop in the middle of its incident."""
    for stop_at in (30, None):
        model, _, guarded = rig.session(home, steps=60)
        with guarded as run:
            for batch in run:
                run.backward(model(batch.tokens_BT), batch)
                if run.step_number + 1 == 30:
                    model.head.weight.grad[0, 0] = math.nan
                run.step()
                if run.step_number == stop_at:
                    break


def ordered(home: Path) -> None:
    """A person orders a z-loss in a healthy run, and the panel verifies it."""
    model, _, guarded = rig.session(home, steps=60)
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            if run.step_number == 30:
                send(home, Word(verb="order", plan="z-loss 1e-4", words="the logits grow"))
                run._desk.read()
            run.step()


def main() -> None:
    for make in (garbled, overflow, ordered):
        with tempfile.TemporaryDirectory() as scratch:
            home = Path(scratch) / make.__name__
            make(home)
            kept = JOURNALS / make.__name__
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(home / "journal", kept / "journal")


if __name__ == "__main__":
    main()
