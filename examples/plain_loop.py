"""A plain training loop under guard: the two touch points, and a data order of your own.

python examples/plain_loop.py --home runs/example
steadytrain run --home runs/example -- examples/plain_loop.py     # the same, restarted if it dies
"""

import argparse
import os
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from steadytrain.panels import draw
from steadytrain.train import Feed, Panel, Session, WarmupStableDecay

CONTEXT = 32


@dataclass(frozen=True)
class Line:
    """One sequence: CONTEXT inputs and their targets."""

    tokens: np.ndarray
    domain: int
    source: str

    @property
    def num_bytes(self) -> int:
        return len(self.tokens) - 1


class Sums:
    """Additions and subtractions as text: `block(draw)` is a pure function of the draw."""

    domains = ("plus", "minus")

    def text(self, draw: int) -> str:
        chance = random.Random(draw)
        sign = "+-"[draw % 2]
        lines = []
        while sum(map(len, lines)) <= CONTEXT:
            a, b = chance.randrange(50), chance.randrange(50)
            lines.append(f"{a}{sign}{b}={a + b if sign == '+' else a - b}\n")
        return "".join(lines)[: CONTEXT + 1]

    def block(self, draw: int) -> Line:
        tokens = np.frombuffer(self.text(draw).encode(), dtype=np.uint8)
        return Line(tokens, draw % 2, f"sums:{draw}")


class Recurrent(nn.Module):
    """Any module will do: tokens [B, T] -> logits [B, T, V]."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(128, 64)
        self.cell = nn.GRU(64, 64, batch_first=True)
        self.head = nn.Linear(64, 128)

    def forward(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        return self.head(self.cell(self.embed(tokens_BT))[0])


def main() -> None:
    parser = argparse.ArgumentParser()
    default_home = os.environ.get("STEADYTRAIN_HOME", "runs/example")
    parser.add_argument("--home", type=Path, default=Path(default_home))
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()

    torch.manual_seed(0)
    model = Recurrent()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, fused=True)
    order = Sums()
    panel = Panel(
        draw(
            [(order.domains[at % 2], order.text(10**9 + at)) for at in range(200)],
            domains=order.domains,
            per_domain=60,
            seed=0,
            encode=lambda text: list(text.encode()),
            window=CONTEXT,
            tokenizer="bytes",
        )
    )
    steps = options.steps
    schedule = WarmupStableDecay(peak=3e-3, steps=steps, warmup=steps // 10, decay=steps // 5)
    feed = Feed(order, batch_size=16)
    with Session(
        model, optimizer, feed, home=options.home, steps=steps, schedule=schedule, panel=panel
    ) as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
    print(f"done; now write: steadytrain report {options.home}")


if __name__ == "__main__":
    main()
