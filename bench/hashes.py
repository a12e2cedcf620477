"""What comparing replicas costs beside a step, and how many flipped bits and swapped values show.

    python bench/hashes.py                     the lab's model and one of 10 M parameters
    python bench/hashes.py --flips 10000       of each sort, at random places from a seed
    python bench/hashes.py --device cuda

Cost: one digest of weights and both moments beside forward, backward and fused AdamW on the same
device and thread, by processor time on a CPU; a comparison is made every 10 steps by default.
Beside ours: a plain sum of the same bits, and the sum of the values that a script would write.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

import machine
from steadytrain.lab.model import Config, Transformer
from steadytrain.lab.sabotage import flip_bit
from steadytrain.train.digests import Digests

SIZES = {
    "lab": (Config(), 32),
    "10 M": (Config(width=320, layers=8, heads=5), 8),
}
EVERY = 10
KINDS = ("flip-weight", "flip-moment", "flip-square")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(machine.line())
    for name, (config, batch) in SIZES.items():
        model = Transformer(config, seed=0).to(options.device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        measure(name, model, optimizer, config, batch=batch, rounds=options.rounds)
    model = Transformer(Config(), seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    step(model, optimizer, Config(), batch=4)
    count(model, optimizer, flips=options.flips, seed=options.seed)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, config: Config, *, batch: int) -> None:
    device = next(model.parameters()).device
    tokens_BT = torch.randint(0, 256, (batch, config.context + 1), device=device)
    logits_BTV = model(tokens_BT[:, :-1])
    loss = functional.cross_entropy(logits_BTV.flatten(0, 1), tokens_BT[:, 1:].flatten())
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def parts(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[list[Tensor], list[Tensor]]:
    weights = [one.detach() for one in model.parameters()]
    return weights, [one for state in optimizer.state.values() for one in state.values()]


def measure(
    name: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: Config,
    *,
    batch: int,
    rounds: int,
) -> None:
    device = next(model.parameters()).device
    digests = Digests(device)

    def compare() -> None:
        for part in parts(model, optimizer):
            digests.of(part)

    def whole_step() -> None:
        step(model, optimizer, config, batch=batch)

    def land() -> None:
        for one in model.parameters():
            one.grad = torch.zeros_like(one)
        optimizer.step()

    for one in (whole_step, compare, land):
        one()
    times: dict[str, list[float]] = {"step": [], "compare": [], "optimizer": []}
    for _ in range(rounds):
        times["step"].append(timed(whole_step, device))
        times["compare"].append(timed(compare, device))
        times["optimizer"].append(timed(land, device))
    usual = {key: statistics.median(found) for key, found in times.items()}
    size = sum(one.numel() * one.element_size() for part in parts(model, optimizer) for one in part)
    share = usual["compare"] / usual["step"]
    print(
        f"  {name:5} {size / 1e6:7.1f} MB of weights and moments, batch {batch}: "
        f"step {usual['step'] * 1e3:8.2f} ms, of it optimizer {usual['optimizer'] * 1e3:6.2f}, "
        f"comparison {usual['compare'] * 1e3:6.2f} ms ({size / usual['compare'] / 1e9:.1f} GB/s)"
        f" = {share:.2%} of a step, every {EVERY} steps {share / EVERY:.3%}"
    )


def timed(work: Callable[[], None], device: torch.device) -> float:
    """Seconds of the device, or of this process where that is the CPU."""
    if device.type == "cpu":
        began = time.process_time()
        work()
        return time.process_time() - began
    torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def count(model: nn.Module, optimizer: torch.optim.Optimizer, *, flips: int, seed: int) -> None:
    digests = Digests(torch.device("cpu"))
    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: [int(digests.of(part)) for part in parts(model, optimizer)],
        "plain sum of the bits": lambda: sum_of_bits(model, optimizer),
        "sum of the values": lambda: [
            float(sum(one.sum() for one in part)) for part in parts(model, optimizer)
        ],
    }
    chance = random.Random(seed)
    before = {name: way() for name, way in ways.items()}
    for sort, damage in (("a flipped bit", flip), ("two values that changed places", swap)):
        caught = dict.fromkeys(ways, 0)
        for _ in range(flips):
            undo = damage(model, optimizer, chance)
            for name, way in ways.items():
                caught[name] += way() != before[name]
            undo()
        assert {name: way() for name, way in ways.items()} == before
        shown = ", ".join(f"{name} {found} of {flips}" for name, found in caught.items())
        print(f"  {sort}: {shown}")


def sum_of_bits(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[int]:
    return [
        sum(int(one.reshape(-1).view(torch.int32).sum()) for one in part)
        for part in parts(model, optimizer)
    ]


def flip(
    model: nn.Module, optimizer: torch.optim.Optimizer, chance: random.Random
) -> Callable[[], object]:
    kind, seed = chance.choice(KINDS), chance.randrange(2**31)

    def turn() -> object:
        return flip_bit(kind, model.parameters(), optimizer, random.Random(seed))

    turn()
    return turn


def swap(
    model: nn.Module, optimizer: torch.optim.Optimizer, chance: random.Random
) -> Callable[[], object]:
    weights, moments = parts(model, optimizer)
    flat = chance.choice([one for one in [*weights, *moments] if one.numel() > 2]).view(-1)
    while True:
        one, other = (chance.randrange(flat.numel()) for _ in range(2))
        if flat[one] != flat[other]:
            break

    def turn() -> None:
        flat[[one, other]] = flat[[other, one]]

    turn()
    return turn


if __name__ == "__main__":
    main()
