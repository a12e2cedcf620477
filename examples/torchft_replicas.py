"""Replicas of one run under torchft: one dies or hangs, the others go on, and no sample is lost.

python examples/torchft_replicas.py --home runs/example      # one, with a lighthouse of its own

torchft_lighthouse --min_replicas 1 --join_timeout_ms 10000  # or two, each under a supervisor
export TORCHFT_LIGHTHOUSE=http://localhost:29510
steadytrain run --home runs/example/replica0 -- examples/torchft_replicas.py --steps 2000
steadytrain run --home runs/example/replica1 -- examples/torchft_replicas.py --steps 2000
"""

import argparse
import contextlib
import os
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from plain_loop import Recurrent, Sums
from torchft import Manager, ProcessGroupGloo
from torchft.coordination import LighthouseServer

from steadytrain.adapters.torchft import Replica
from steadytrain.train import Feed, WarmupStableDecay


@contextlib.contextmanager
def alone():
    """What a launcher and an operator would provide: a store for the ranks, and a lighthouse."""
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    lighthouse = LighthouseServer(bind="[::]:0", min_replicas=1)
    os.environ |= {
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(store.port),
        "RANK": "0",
        "WORLD_SIZE": "1",
        "TORCHFT_LIGHTHOUSE": lighthouse.address(),
    }
    yield
    lighthouse.shutdown()


def train(home: Path, steps: int) -> None:
    torch.manual_seed(0)
    model = Recurrent()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    manager = Manager(
        pg=ProcessGroupGloo(timeout=timedelta(seconds=60)),
        load_state_dict=None,  # the replica hands over weights, moments, position and judge
        state_dict=None,
        min_replica_size=1,
        use_async_quorum=False,  # a replica must know who takes part before it draws its data
        replica_id=home.name,
    )
    feed = Feed(Sums(), batch_size=8, accumulate=2)  # 16 sequences an update, over all replicas
    schedule = WarmupStableDecay(peak=3e-3, steps=steps, warmup=steps // 10, decay=steps // 5)
    with Replica(manager, model, optimizer, feed, home=home, steps=steps, schedule=schedule) as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()


def main() -> None:
    parser = argparse.ArgumentParser()
    default_home = os.environ.get("STEADYTRAIN_HOME", "runs/example")
    parser.add_argument("--home", type=Path, default=Path(default_home))
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    with contextlib.nullcontext() if "TORCHFT_LIGHTHOUSE" in os.environ else alone():
        train(options.home, options.steps)


if __name__ == "__main__":
    main()
