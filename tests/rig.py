"""A run small enough to kill twenty times: a real model, real words, and faults in the data."""

import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from steadytrain.chaos.verdict import losses  # noqa: F401  # asked for as rig.losses
from steadytrain.judge.clocks import Clocks
from steadytrain.judge.judge import Judge
from steadytrain.judge.outcome import Verification
from steadytrain.judge.treatment import Treatment
from steadytrain.lab.model import Config, Transformer
from steadytrain.panels import FixedPanel, PanelSequence
from steadytrain.train import Feed, Panel, Ranks, Session, WarmupStableDecay

WORDS = [
    "the",
    "loss",
    "of",
    "a",
    "long",
    "run",
    "falls",
    "and",
    "then",
    "it",
    "does",
    "not",
    "and",
    "a",
    "person",
    "looks",
    "at",
    "the",
    "curve",
    "while",
    "the",
    "model",
    "goes",
    "on",
    "to",
    "learn",
    "words",
    "from",
    "the",
    "stream",
    "of",
    "bytes",
    "that",
    "somebody",
    "left",
    "in",
    "a",
    "folder",
]
CONTEXT = 64
BATCH = 12


@dataclass(frozen=True)
class Piece:
    tokens: np.ndarray
    domain: int
    source: str

    @property
    def num_bytes(self) -> int:
        return len(self.tokens) - 1


class Words:
    """Random words in two domains; draws of `garbled` hold random bytes in domain 0."""

    domains = ("prose", "list")

    def __init__(self, garbled: range = range(0)) -> None:
        self._garbled = garbled

    def text(self, draw: int) -> str:
        return bytes(self.block(draw).tokens.tolist()).decode(errors="replace")

    def block(self, draw: int) -> Piece:
        domain = draw % 2
        chance = random.Random(draw)
        if draw in self._garbled and domain == 0:
            raw = bytes(chance.randrange(128, 256) for _ in range(CONTEXT + 1))
        else:
            mark = " " if domain == 0 else "\n"
            raw = mark.join(chance.choice(WORDS) for _ in range(30)).encode()[: CONTEXT + 1]
        return Piece(np.frombuffer(raw, dtype=np.uint8), domain, f"words:{draw}")


def judge(**changes) -> Judge:
    """Quick to arm and to verify, so that a test is short; `changes` are those of its treatment."""
    return Judge(
        detector=Clocks(burn_in=16),
        treatment=Treatment(verification=Verification(good_steps=8), **changes),
    )


def schedule(steps: int) -> WarmupStableDecay:
    return WarmupStableDecay(
        peak=3e-3, steps=max(1, steps), warmup=max(0, min(5, steps // 4)), decay=max(0, steps // 4)
    )


def panel(**changes) -> Panel:
    order = Words()
    blocks = [order.block(10**6 + draw) for draw in range(20)]
    fixed = FixedPanel(
        sequences=tuple(
            PanelSequence(
                domain=one.domain, tokens=one.tokens, num_bytes=one.num_bytes, source=one.source,
                text=order.text(10**6 + draw),
            )
            for draw, one in enumerate(blocks)
        ),
        domains=order.domains,
    )  # fmt: skip
    return Panel(fixed, batch_size=10, **changes)


def session(
    home: Path,
    *,
    steps: int,
    garbled: range = range(0),
    ranks: Ranks | None = None,
    left_out=(),
    shards: bool = False,
    alter=None,
    copies: int = 1,
    **changes,
):
    """A Session over a tiny model, which `alter` may change; `changes` are arguments of Session.

    Several ranks share it by DDP, or by FSDP2 if it `shards`, in so many `copies` (HSDP).
    """
    torch.set_num_threads(1)
    ranks = ranks or Ranks()
    model = Transformer(Config(width=16, layers=2, heads=2, context=CONTEXT), seed=3)
    if alter is not None:
        alter(model)
    wrapped = model
    if shards:
        mesh = None
        if copies > 1:
            mesh = init_device_mesh(
                "cpu", (copies, ranks.world // copies), mesh_dim_names=("copy", "shard")
            )
        for block in model.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
    elif ranks.world > 1:
        wrapped = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(
        wrapped.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    feed = Feed(
        Words(garbled),
        batch_size=BATCH // ranks.world,
        rank=ranks.rank,
        world=ranks.world,
        left_out=left_out,
    )
    settings = {
        "judge": judge(),
        "schedule": schedule(steps),
        "panel": panel(),
        "panel_every": 20,
        "snapshot_every": 5,
        "checkpoint_every": 10,
        "fence": False,
        "ranks": ranks,
    }
    return (
        wrapped,
        optimizer,
        Session(wrapped, optimizer, feed, home=home, steps=steps, **(settings | changes)),
    )


def train(home: Path, *, steps: int, **changes) -> dict[str, str]:
    """Train to the end; returns the digest of weights and optimizer state."""
    model, optimizer, guarded = session(home, steps=steps, **changes)
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
    return digest(model, optimizer)


def train_and_note(home: Path, out: Path, changes: dict) -> None:
    """`train` for a process of its own."""
    out.write_text(json.dumps(train(home, **changes)))


def digest(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, str]:
    weights = hashlib.blake2b()
    for name, tensor in sorted(model.state_dict().items()):
        weights.update(name.encode() + tensor.numpy().tobytes())
    moments = hashlib.blake2b()
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            for key, tensor in sorted(optimizer.state[parameter].items()):
                moments.update(key.encode() + tensor.numpy().tobytes())
    return {"weights": weights.hexdigest(), "optimizer": moments.hexdigest()}
