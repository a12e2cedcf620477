"""A guarded run that one rank harms once: `harms.py HOME OUT HARM RANK STEP STEPS`.

Used by tests/launch and by bench/hangs.py. Harms come once in a run, so that the next life is
healthy; slow ones come in every life, "often" kills a rank in each of the first STEP lives, and
"flips" changes a bit of a rank's weights at STEP and 20 steps later.
"""

import json
import os
import random
import re
import signal
import sys
import threading
import time
from pathlib import Path

import torch

from steadytrain.lab.sabotage import flip_bit
from steadytrain.train import Ranks
from tests import rig

SLOW_SECONDS = 5.0


def stop():
    os.kill(os.getpid(), signal.SIGSTOP)


def sleep():
    threading.Thread(target=time.sleep, args=(10**6,), daemon=True).start()
    while True:
        time.sleep(0.05)


def regex():
    re.match(r"(a+)+$", "a" * 60 + "b")  # backtracks for ever, and never gives the GIL back


def lock():
    held = threading.Lock()
    held.acquire()
    held.acquire()


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def segfault():
    os.kill(os.getpid(), signal.SIGSEGV)


def boom():
    raise ValueError("boom")


def slow():
    time.sleep(SLOW_SECONDS)


IN_FORWARD = {
    "stop": stop,
    "sleep": sleep,
    "regex": regex,
    "lock": lock,
    "kill": kill,
    "segfault": segfault,
    "boom": boom,
}


class StuckWords(rig.Words):
    """Its `block` does not come back once, at a draw of the wanted step."""

    def __init__(self, is_due):
        super().__init__()
        self._is_due = is_due

    def block(self, draw):
        if self._is_due():
            threading.Event().wait()
        return super().block(draw)


def main():
    home, out, harm, rank, step, steps = sys.argv[1:]
    ranks = Ranks.join()
    is_mine = ranks.rank == int(rank)
    once = Path(home, f"harmed{ranks.rank}")

    def is_due(now):
        if not is_mine or now != int(step) or once.exists():
            return False
        once.write_text(str(time.time()))
        return True

    changes = {"compare_every": 5} if harm == "flips" else {}
    model, optimizer, guarded = rig.session(Path(home), steps=int(steps), ranks=ranks, **changes)
    if harm == "loader":
        guarded._feed.order = StuckWords(lambda: is_due(guarded.step_number))
    if harm == "checkpoint":
        keep = guarded._trajectory.keep

        def slow_keep(*, is_last):
            if guarded.step_number == 20 and is_mine:
                slow()
            keep(is_last=is_last)

        guarded._trajectory.keep = slow_keep
    generation = int(os.environ.get("STEADYTRAIN_GENERATION", "0"))
    with guarded as run:
        for batch in run:
            if harm == "first" and run.step_number == 0 and is_mine:
                slow()
            if harm in ("thrice", "pace"):  # with and without a rank three times as slow
                time.sleep(0.6 if is_mine and harm == "thrice" else 0.2)
            for at in (int(step), int(step) + 20) if harm == "flips" and is_mine else ():
                flipped = Path(home, f"flipped{at}")
                if run.step_number == at - 1 and not flipped.exists():
                    flipped.write_text("")
                    flip_bit("flip-weight", model.parameters(), optimizer, random.Random(at))
            is_turn = ranks.rank == generation % 2 and generation < int(step)
            if harm == "often" and is_turn and run.step_number == 2 * generation + 2:
                kill()
            logits = model(batch.tokens_BT)
            if harm in IN_FORWARD and is_due(run.step_number):
                IN_FORWARD[harm]()
            run.backward(logits, batch)
            run.step()
            if harm == "evaluation" and run.step_number == 20 and is_mine:
                slow()
    Path(out, f"{ranks.rank}.json").write_text(json.dumps(rig.digest(model, optimizer)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
