"""A guarded run of some seconds, for campaigns: `tiny.py STEPS [PACE_SECONDS]`."""

import sys
import time

import torch

from steadytrain.train import Ranks
from tests import rig


def main():
    steps, pace = int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    torch.set_num_threads(1)
    model, _, guarded = rig.session(
        None, steps=steps, ranks=Ranks.join(), snapshot_every=1, checkpoint_every=10
    )
    with guarded as run:
        for batch in run:
            time.sleep(pace)
            run.backward(model(batch.tokens_BT), batch)
            run.step()


if __name__ == "__main__":
    main()
