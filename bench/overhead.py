"""What guarding a loop costs: the guarded step beside the bare step, in turn, in one process.

Both train the same model on the same batches with the same fused AdamW and clipping. Prints the
ratio of the medians without and with snapshots, and the share of each part of the guarded step.

--host: of a model so deep and thin that nearly all of a step is the host's work of launching
operations, which a GPU waits for when its own are short: in processor time of the training thread,
so that another load on the machine moves it less, and in operations.
"""

import argparse
import contextlib
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import torch
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

import machine
from steadytrain.lab.model import Config, Transformer
from steadytrain.lab.texts import Corpus
from steadytrain.train import Feed, Session
from steadytrain.train import session as session_module
from steadytrain.train.attention import AttentionProbe
from steadytrain.train.clipping import Thresholds
from steadytrain.train.gradients import LayerNorms
from steadytrain.train.recorder import Recorder
from steadytrain.train.restores import Restores
from steadytrain.train.snapshots import Snapshots

NEVER = 10**9

DEEP = Config(width=64, layers=14, heads=4, context=32)

PARTS = {
    "sums per domain (tap)": (session_module.Tap, "add"),
    "one vector to the host (tap)": (session_module.Tap, "push"),
    "update size (probe)": (session_module.UpdateProbe, "measure"),
    "journal and judge (memory)": (session_module.Memory, "tell"),
    "gate's decision": (session_module.Gate, "decide"),
    "snapshot": (Snapshots, "take"),
}
HOST_PARTS = PARTS | {
    "attention, each layer": (AttentionProbe, "_hear_attention"),
    "attention, all together": (AttentionProbe, "_leave"),
    "texts": (session_module.Proofreader, "read"),
    "norms; in the bare step as well": (LayerNorms, "measure"),
    "thresholds of clipping": (Thresholds, "learn"),
    "repeats": (Recorder, "count_repeats"),
    "random states": (Restores, "mark"),
}


def measure(
    *,
    steps: int,
    snapshot_every: int,
    config: Config,
    device: str,
    batch: int,
    dtype,
    clock=time.perf_counter,
    count: bool = False,
    **switches,
):
    """Median seconds of both kinds of step; operations of one of each if they are to be counted."""
    times: dict[str, list[float]] = defaultdict(list)
    with _pair(
        steps=steps, snapshot_every=snapshot_every, config=config, device=device, batch=batch,
        dtype=dtype, **switches,
    ) as (run, guarded, bare, optimizer):  # fmt: skip
        for one in run:
            # Turn about, since the first to touch a batch pays for fetching it into the caches.
            for name in ("guarded", "bare") if run.step_number % 2 else ("bare", "guarded"):
                _wait(device)
                began = clock()
                with _counting(count and run.step_number in COUNTED, times[f"{name} operations"]):
                    if name == "guarded":
                        run.backward(guarded(one.tokens_BT), one)
                        run.step()
                    else:
                        _bare_step(bare, optimizer, one)
                _wait(device)
                times[name].append(clock() - began)
    return {
        name: statistics.median(values[10:] or values) for name, values in times.items() if values
    }


def pace(*, steps: int, block: int, device: str, **settings) -> dict[str, float]:
    """Median seconds a step, of `block` steps in a row that are waited for together."""
    times: dict[str, list[float]] = defaultdict(list)
    with _pair(steps=steps, device=device, **settings) as (run, guarded, bare, optimizer):
        held = []
        for one in run:
            if not held:
                _wait(device)
                began = time.perf_counter()
            run.backward(guarded(one.tokens_BT), one)
            run.step()
            held.append(one)
            if len(held) < block:
                continue
            _wait(device)
            times["guarded"].append((time.perf_counter() - began) / block)
            began = time.perf_counter()
            while held:
                _bare_step(bare, optimizer, held.pop(0))
            _wait(device)
            times["bare"].append((time.perf_counter() - began) / block)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


@contextlib.contextmanager
def _pair(*, steps, snapshot_every, config, device, batch, dtype, **switches):
    """A guarded run, its model, and a bare model with its optimizer."""
    corpus = Corpus.load(context=config.context, seed=0)
    guarded, bare = (Transformer(config, seed=0).to(device, dtype) for _ in range(2))
    optimizers = [
        torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), fused=True)
        for model in (guarded, bare)
    ]
    feed = Feed(corpus, batch_size=batch, device=device)
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
            say=lambda words: None,
            **switches,
        ) as run,
    ):
        yield run, guarded, bare, optimizers[1]


COUNTED = range(5, 9)
"""Updates whose operations are counted. Their times are left out."""


@contextlib.contextmanager
def _counting(is_on: bool, counts: list[float]):
    """Append how many operations torch is asked for in here, those that they ask for apart."""
    if not is_on:
        yield
        return
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        yield
    counts.append(sum(_is_asked_for(one) for one in profiler.events()))


def _is_asked_for(event) -> bool:
    above = event.cpu_parent
    while above is not None and not above.name.startswith("aten::"):
        above = above.cpu_parent
    return event.name.startswith("aten::") and above is None


def _bare_step(model, optimizer, batch) -> None:
    logits = model(batch.tokens_BT)
    functional.cross_entropy(logits.float().flatten(0, 1), batch.targets_BT.flatten()).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def shares(parts, *, clock=time.perf_counter, **settings) -> dict[str, float]:
    """Milliseconds a step of each part, by timing the calls that Session makes."""
    spent: dict[str, list[float]] = defaultdict(list)
    originals = {name: getattr(owner, method) for name, (owner, method) in parts.items()}
    for name, (owner, method) in parts.items():

        def timed(*a, _name=name, _call=originals[name], **k):
            began = clock()
            found = _call(*a, **k)
            spent[_name].append(clock() - began)
            return found

        setattr(owner, method, timed)
    try:
        measure(clock=clock, **settings)
    finally:
        for name, (owner, method) in parts.items():
            setattr(owner, method, originals[name])
    calls = {name: max(1, round(len(values) / settings["steps"])) for name, values in spent.items()}
    return {name: 1e3 * calls[name] * statistics.median(one) for name, one in spent.items()}


def host(steps: int) -> None:
    """Print the host's work alone."""
    torch.set_num_threads(1)
    settings = {
        "steps": steps, "snapshot_every": NEVER, "config": DEEP, "device": "cpu", "batch": 4,
        "dtype": torch.float32, "clock": time.thread_time,
    }  # fmt: skip
    bare_switches = {"watch_attention": False, "read_texts": False, "provenance": False}
    for name, switches in (
        ("all", {}),
        ("attention unheard", {"watch_attention": False}),
        ("attention unheard, texts unread, no provenance", bare_switches),
    ):
        found = measure(**settings, **switches)
        more = found["guarded"] - found["bare"]
        print(
            f"{name}: bare {1e3 * found['bare']:.2f} ms of processor time, guarded "
            f"{1e3 * more:.2f} ms more, ratio {found['guarded'] / found['bare']:.3f}"
        )
    counted = measure(**{**settings, "steps": max(COUNTED) + 4}, count=True)
    print(
        f"operations: bare {counted['bare operations']:.0f}, "
        f"guarded {counted['guarded operations']:.0f}"
    )
    for name, ms in shares(HOST_PARTS, **settings).items():
        print(f"  {name}: {ms:.3f} ms")


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cuda", action="store_true", help="100 M parameters in bf16")
    parser.add_argument("--host", action="store_true", help="the host's work alone")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(machine.line())
    if options.host:
        host(options.steps)
        return
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
    if options.cuda:
        for batch in (8, 32):
            for every, name in ((NEVER, "without snapshots"), (10, "a snapshot every 10 steps")):
                found = pace(
                    steps=options.steps, block=10, snapshot_every=every, **where | {"batch": batch}
                )
                print(
                    f"ten steps in a row, {batch} x 1,024 tokens, {name}: guarded "
                    f"{1e3 * found['guarded']:.2f} ms, bare {1e3 * found['bare']:.2f} ms a step, "
                    f"ratio {found['guarded'] / found['bare']:.4f}"
                )
    parts = HOST_PARTS if options.cuda else PARTS
    for name, ms in shares(parts, steps=options.steps, snapshot_every=10, **where).items():
        print(f"  {name}: {ms:.3f} ms")


if __name__ == "__main__":
    main()
