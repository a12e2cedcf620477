"""One replica that trains a small model under torchft: `replica.py NAME OUT STEPS --harm forward-kill@12`.

Used by test_torchft.py and bench/torchft.py, by itself or under `steadytrain run`. What it did is in
OUT/<NAME>.jsonl, one line an update; a harm comes once in a run. Float64, so that another order of
additions changes the parameters by rounding only.
"""

import argparse
import json
import os
import random
import signal
import socket
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard

from steadytrain.judge.clocks import Clocks
from steadytrain.judge.judge import Judge
from steadytrain.train import Feed, Ranks, WarmupStableDecay

BATCH, ACCUMULATE = 3, 2
CONTEXT = 12


@dataclass(frozen=True)
class Line:
    tokens: np.ndarray
    domain: int
    source: str

    @property
    def num_bytes(self):
        return len(self.tokens) - 1


class Letters:
    """Random letters with a habit, in two domains."""

    domains = ("low", "high")

    def block(self, draw):
        chance = random.Random(draw)
        first = 40 * (draw % 2)
        tokens = [first + chance.randrange(40)]
        while len(tokens) <= CONTEXT:
            tokens.append(first + (tokens[-1] + chance.randrange(1, 4)) % 40)
        return Line(np.array(tokens, dtype=np.uint8), draw % 2, f"letters:{draw}")

    def text(self, draw):
        return str(self.block(draw).tokens)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(80, 16)
        self.norm = nn.LayerNorm(16)
        self.hidden = nn.Linear(16, 32)
        self.head = nn.Linear(32, 80)

    def forward(self, tokens_BT):
        return self.head(torch.tanh(self.hidden(self.norm(self.embed(tokens_BT)))))


def parts(seed=0):
    """Model, optimizer and feed of every replica; only the first values depend on the seed."""
    torch.manual_seed(seed)
    model = Small().double()
    feed = Feed(Letters(), batch_size=BATCH, accumulate=ACCUMULATE)
    return model, feed


def optimizer_of(model):
    return torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)


def schedule(steps):
    return WarmupStableDecay(peak=1e-2, steps=steps, warmup=min(3, steps // 4), decay=steps // 4)


def losses(model, batch):
    """Cross-entropy of each token, in float64."""
    logp_BTV = torch.log_softmax(model(batch.tokens_BT), dim=-1)
    return -logp_BTV.gather(-1, batch.targets_BT.unsqueeze(-1)).squeeze(-1)


def digest(model):
    """All parameters, to compare up to rounding."""
    full = (p.full_tensor() if hasattr(p, "full_tensor") else p for p in model.parameters())
    return [float(one) for p in full for one in p.detach().flatten()[:64]]


class Harms:
    """`kill@12` and the like, each once in a run."""

    def __init__(self, given, marks):
        self._due = [(one.partition("@")[0], int(one.partition("@")[2])) for one in given]
        self._marks = Path(marks)

    def strike(self, step, place):
        """What is due in this update at this place."""
        for name, at in self._due:
            mark = self._marks.with_suffix(f".{name}{at}")
            if step == at and name.startswith(place) and not mark.exists():
                mark.write_text(repr(time.monotonic()))
                yield name.removeprefix(place)


def harm(name):
    if name == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    while name == "hang":
        time.sleep(0.05)


def manager(name, *, min_replicas, timeout_seconds, uses_async_quorum=False):
    """torchft's manager; under a launcher the store is its, otherwise it is made here."""
    from torchft import Manager, ProcessGroupGloo

    store = {}
    if "MASTER_ADDR" not in os.environ:
        held = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
        store = {"store_addr": "localhost", "store_port": held.port, "rank": 0, "world_size": 1}
    made = Manager(
        pg=ProcessGroupGloo(timeout=timedelta(seconds=timeout_seconds)),
        load_state_dict=None,
        state_dict=None,
        min_replica_size=min_replicas,
        use_async_quorum=uses_async_quorum,
        timeout=timedelta(seconds=timeout_seconds),
        replica_id=name,
        hostname=socket.gethostname(),
        **store,
    )
    if store:
        made.held = held
    return made


def plain(made, model, feed, *, steps, pause, harms, note):
    """The same with torchft alone, as its own example has it: each replica reads data of its own."""
    from torchft import DistributedDataParallel, Optimizer

    made.register_state_dict_fn("default", lambda given: load(*given), lambda: save())
    wrapped = DistributedDataParallel(made, model)
    inner = optimizer_of(model)
    optimizer = Optimizer(made, inner)

    def load(weights, moments):
        model.load_state_dict(weights)
        inner.load_state_dict(moments)

    def save():
        return model.state_dict(), inner.state_dict()

    while made.current_step() < steps:
        before = made.current_step()
        optimizer.zero_grad()
        nll_BT = losses(wrapped, feed.batch(feed.step_draws(before + 1)))
        for name in harms.strike(before + 1, "forward-"):
            harm(name)
        nll_BT.mean().backward()
        time.sleep(pause)
        optimizer.step()
        if made.current_step() > before:
            note(made.current_step(), made.num_participants())
    made.shutdown(wait=False)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("out", type=Path)
    parser.add_argument("steps", type=int)
    parser.add_argument("--harm", action="append", default=[], help="such as forward-kill@12")
    parser.add_argument("--pause", type=float, default=0.02)
    parser.add_argument("--ddp", action="store_true")
    parser.add_argument("--plain", action="store_true", help="torchft alone")
    parser.add_argument("--min-replicas", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=60.0)
    parser.add_argument("--checkpoint-every", type=int, default=1000)
    parser.add_argument("--together", type=int, default=1, help="replicas to wait for at first")
    options = parser.parse_args()

    from torchft import DistributedDataParallel

    from steadytrain.adapters.torchft import Replica

    ranks = Ranks.join()
    (options.out / f"{options.name}.ready").touch()
    while len(list(options.out.glob("*.ready"))) < options.together:
        time.sleep(0.01)
    made = manager(
        options.name,
        min_replicas=options.min_replicas,
        timeout_seconds=options.timeout,
        uses_async_quorum=options.plain,
    )
    # At first r0 heals all others; but not every rank of a replica is healed by the same one.
    seed = int(options.name[1:]) if ranks.world == 1 else 0
    model, feed = parts(seed)
    if ranks.world > 1:
        fully_shard(model)
    if options.ddp:
        model = DistributedDataParallel(made, model)
    log = open(options.out / f"{options.name}.jsonl", "a", buffering=1)  # noqa: SIM115
    harms = Harms(options.harm, options.out / options.name)

    def note(step, replicas):
        line = {"step": step, "replicas": replicas, "at": time.monotonic()}
        log.write(json.dumps(line) + "\n")

    if options.plain:
        plain(
            made,
            model,
            feed,
            steps=options.steps,
            pause=options.pause,
            harms=harms,
            note=note,
        )
        return
    optimizer = optimizer_of(model)
    home = os.environ.get("STEADYTRAIN_HOME", options.out / options.name)
    with Replica(
        made,
        model,
        optimizer,
        feed,
        home=home,
        steps=options.steps,
        schedule=schedule(options.steps),
        judge=Judge(detector=Clocks(burn_in=16)),
        ranks=ranks,
        checkpoint_every=options.checkpoint_every,
        say=lambda words: log.write(json.dumps({"said": words}) + "\n"),
        fence=False,
    ) as run:
        for batch in run:
            before = run.step_number
            nll_BT = losses(model, batch)
            for name in harms.strike(before + 1, "forward-"):
                harm(name)
            for name in harms.strike(before + 1, "loss-"):
                nll_BT = nll_BT * {"nan": float("nan"), "absurd": 1e7}[name]
            run.backward_losses(nll_BT, batch)
            time.sleep(options.pause)
            run.step()
            if ranks.rank == 0 and run.step_number > before:
                note(run.step_number, run.replicas)
    numbers = digest(model)
    if ranks.rank == 0:
        (options.out / f"{options.name}.json").write_text(json.dumps(numbers))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
