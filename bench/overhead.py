"""What guarding a loop costs: the guarded step beside the bare step, in turn, in one process.

Both train the same model on the same batches with the same fused AdamW and clipping. Prints the
ratio of the medians without and with snapshots, and the share of each part of the guarded step.
"""

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import torch
from torch.nn import functional

import machine
from steadytrain.lab.model import Config, Transformer
from steadytrain.lab.texts import Corpus
from steadytrain.train import Feed, Session
from steadytrain.train import session as session_module
from steadytrain.train.snapshots import Snapshots

NEVER = 10**9


def measure(*, steps: int, snapshot_every: int, config: Config, device: str, batch: int, dtype):
    corpus = Corpus.load(context=config.context, seed=0)
    guarded, bare = (Transformer(config, seed=0).to(device, dtype) for _ in range(2))
    optimizers = [
        torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), fused=True)
        for model in (guarded, bare)
    ]
    feed = Feed(corpus, batch_size=batch, device=device)
    times: dict[str, list[float]] = {"guarded": [], "bare": []}
    with (
        tempfile.TemporaryDirectory() as home,
        Session(
            guarded,
            optimizers[0],
            feed,
            home=Path(home) / "run",
            steps=steps,
            snapshot_every=snapshot_every,
            checkpoint_every=NEVER,
            panel_every=NEVER,
        ) as run,
    ):
        for one in run:
            # Turn about, since the first to touch a batch pays for fetching it into the caches.
            for name in ("guarded", "bare") if run.step_number % 2 else ("bare", "guarded"):
                _wait(device)
                began = time.perf_counter()
                if name == "guarded":
                    run.backward(guarded(one.tokens_BT), one)
                    run.step()
                else:
                    _bare_step(bare, optimizers[1], one)
                _wait(device)
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values[10:]) for name, values in times.items()}


def _bare_step(model, optimizer, batch) -> None:
    logits = model(batch.tokens_BT)
    functional.cross_entropy(logits.float().flatten(0, 1), batch.targets_BT.flatten()).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def shares(*, steps: int, config: Config) -> dict[str, float]:
    """Median milliseconds a step of each part, by timing the calls that Session makes."""
    spent: dict[str, list[float]] = defaultdict(list)
    parts = {
        "sums per domain (tap)": (session_module.Tap, "add"),
        "one vector to the host (tap)": (session_module.Tap, "push"),
        "update size (probe)": (session_module.UpdateProbe, "measure"),
        "journal and judge (memory)": (session_module.Memory, "tell"),
        "gate's decision": (session_module.Gate, "decide"),
        "snapshot": (Snapshots, "take"),
    }
    originals = {}
    for name, (owner, method) in parts.items():
        originals[name] = getattr(owner, method)

        def timed(*a, _name=name, _call=originals[name], **k):
            began = time.perf_counter()
            found = _call(*a, **k)
            spent[_name].append(time.perf_counter() - began)
            return found

        setattr(owner, method, timed)
    try:
        measure(
            steps=steps,
            snapshot_every=10,
            config=config,
            device="cpu",
            batch=32,
            dtype=torch.float32,
        )
    finally:
        for name, (owner, method) in parts.items():
            setattr(owner, method, originals[name])
    return {name: 1e3 * statistics.median(values) for name, values in spent.items()}


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cuda", action="store_true", help="100 M parameters in bf16")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(machine.line())
    if options.cuda:
        config = Config(width=768, layers=14, heads=12, context=1024)
        where = {"config": config, "device": "cuda", "batch": 8, "dtype": torch.bfloat16}
    else:
        config = Config()
        where = {"config": config, "device": "cpu", "batch": 32, "dtype": torch.float32}
    for every, name in ((NEVER, "without snapshots"), (10, "with a snapshot every 10 steps")):
        found = measure(steps=options.steps, snapshot_every=every, **where)
        ratio = found["guarded"] / found["bare"]
        print(
            f"{name}: guarded {1e3 * found['guarded']:.2f} ms, bare {1e3 * found['bare']:.2f} ms, "
            f"ratio {ratio:.4f}"
        )
    if not options.cuda:
        for name, ms in shares(steps=options.steps, config=config).items():
            print(f"  {name}: {ms:.3f} ms")


if __name__ == "__main__":
    main()
