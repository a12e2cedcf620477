"""Does the 95 % interval of a panel's perplexity cover the truth in 95 % of panels? Beside token errors.

    PYTHONPATH=src:bench python bench/coverage.py --text FOLDER

A small model is trained on half of the documents (zh, en, code). The windows of the other half are a
pool whose mean loss is known; from it panels are drawn again and again, one window a document, and
counted is how many intervals hold the pool's own mean: with our error over sequences, and with the
error over tokens that llama.cpp (perplexity.cpp: sqrt((mean of squares - square of mean) / (tokens -
1))) and mlx-lm (perplexity.py: std / sqrt(tokens)) print. Also: panels of unequal lengths, and panels
of ten neighbouring windows of each of a tenth of the documents, which no error over windows gets right.
FOLDER holds zh.jsonl, en.jsonl, code.jsonl; without it the lab's own text is read, and Chinese has few
documents in it.
"""

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import machine
from steadytrain.lab.documents import read_domain
from steadytrain.lab.model import Config, Transformer
from steadytrain.stats.paired import Z_95, interval
from steadytrain.train.losses import token_losses

DOMAINS = ("zh", "en", "code")
PART = 4096  # bytes; longer documents are cut, so that a domain has hundreds of them
NEIGHBOURS = 10
MOST_WINDOWS = 16  # of a document: enough to stand for it
DESIGNS = ("one a document", "unequal lengths", "neighbours")


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Token losses of held-out windows: [windows, T]; first window and number of each document."""

    nll: np.ndarray
    first: np.ndarray
    count: np.ndarray
    length: np.ndarray


def main() -> None:
    options = _options()
    print(machine.line())
    torch.manual_seed(options.seed)
    chance = np.random.default_rng(options.seed)
    config = Config(context=options.context)
    train, held = _split(options.text, options.context + 1, chance)
    model = Transformer(config, seed=options.seed)
    began = time.monotonic()
    last = _train(model, train, options.steps, chance)
    print(
        f"{options.steps} updates of 32 windows of {options.context} bytes in "
        f"{time.monotonic() - began:.0f} s, last loss {last:.3f}"
    )
    rows = []
    print(
        f"\n{'panel':16} {'domain':6} {'n':>5} {'perplexity':>10} {'true sd':>8} "
        f"{'ours/true':>9} {'token/true':>10} {'covers':>7} {'token covers':>12} {'+-%':>6}"
    )
    for name in DOMAINS:
        pool = _pool(model, held[name], options.context, chance)
        for design in DESIGNS:
            for count in options.panels:
                row = _figures(pool, design, count, options.draws, chance)
                row = {"design": design, "domain": name, "n": count} | row
                rows.append(row)
                print(
                    f"{design:16} {name:6} {count:5} {row['perplexity']:10.3f} {row['sd']:8.4f} "
                    f"{row['ours'] / row['sd']:9.2f} {row['token'] / row['sd']:10.2f} "
                    f"{row['covers']:7.1%} {row['token_covers']:12.1%} {100 * row['tells']:6.1f}",
                    flush=True,
                )
        print(f"{'':16} {name:6} {len(pool.first)} documents, {len(pool.nll)} windows held out")
    good = [row["covers"] for row in rows if row["n"] >= 200 and row["design"] != "neighbours"]
    print(
        f"\npanels of 200 or more, one window a document: {min(good):.1%} to {max(good):.1%} of "
        f"{options.draws} intervals cover the truth (aim: 93 to 97 %)"
    )
    if options.json:
        options.json.write_text(json.dumps(rows))


def _split(
    folder: Path | None, size: int, chance: np.random.Generator
) -> tuple[np.ndarray, dict[str, list[bytes]]]:
    """Training windows of all domains in equal parts, and the held-out documents."""
    windows, held = [], {}
    for name in DOMAINS:
        where = str(folder / f"{name}.jsonl") if folder else None
        parts = [
            one.text[begin : begin + PART]
            for one in read_domain(name, where)
            for begin in range(0, len(one.text), PART)
        ]
        parts = [part for part in parts if len(part) >= NEIGHBOURS * size]
        order = chance.permutation(len(parts))
        half = len(parts) // 2
        held[name] = [parts[index] for index in order[:half]]
        text = b"\n".join(parts[index] for index in order[half:])
        count = len(text) // size
        cut = np.frombuffer(text, np.uint8)[: count * size].reshape(count, size)
        windows.append(cut[chance.integers(0, count, 20_000)])
    return np.stack(windows, axis=1).reshape(-1, size), held


def _train(
    model: Transformer, windows: np.ndarray, steps: int, chance: np.random.Generator
) -> float:
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.95), weight_decay=0.1)
    loss = torch.zeros(())
    for step in range(steps):
        for group in optimizer.param_groups:
            rising, falling = (step + 1) / 20, (steps - step) / (0.2 * steps)
            group["lr"] = 4e-3 * min(1.0, rising, falling)
        rows = chance.integers(0, len(windows), 32)
        tokens = torch.from_numpy(windows[rows].astype(np.int64))
        nll, _ = token_losses(model(tokens[:, :-1]), tokens[:, 1:])
        loss = nll.mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return float(loss.detach())


@torch.no_grad()
def _pool(
    model: Transformer, documents: list[bytes], context: int, chance: np.random.Generator
) -> Pool:
    size = context + 1
    counts = [min(MOST_WINDOWS, len(text) // size) for text in documents]
    windows = np.concatenate(
        [
            np.frombuffer(text, np.uint8)[: n * size].reshape(n, size)
            for text, n in zip(documents, counts, strict=True)
        ]
    )
    found = []
    for begin in range(0, len(windows), 128):
        tokens = torch.from_numpy(windows[begin : begin + 128].astype(np.int64))
        found.append(token_losses(model(tokens[:, :-1]), tokens[:, 1:])[0].double().numpy())
    count = np.array(counts)
    return Pool(
        nll=np.concatenate(found),
        first=np.cumsum(count) - count,
        count=count,
        length=chance.integers(context // 8, context + 1, len(windows)),
    )


def _figures(
    pool: Pool, design: str, n: int, draws: int, chance: np.random.Generator
) -> dict[str, float]:
    """Coverage and widths over many panels of n windows; documents come with replacement."""
    full = pool.nll.shape[1]
    length = pool.length if design == "unequal lengths" else np.full(len(pool.nll), full)
    counted = np.arange(full) < length[:, None]
    nll = np.where(counted, pool.nll, 0.0)
    sums, squares = nll.sum(1), np.square(nll).sum(1)
    # Every document counts alike, whatever its number of windows: so are panels drawn.
    weight = np.repeat(1 / pool.count, pool.count)
    truth = (weight * sums).sum() / (weight * length).sum()
    means, ours, token, tells = [], [], [], []
    covers = token_covers = 0
    for _ in range(draws):
        rows = _draw(pool, design, n, chance)
        found = interval((sums[rows] / length[rows]).tolist(), length[rows].tolist())
        tokens = length[rows].sum()
        mean = sums[rows].sum() / tokens
        error = math.sqrt((squares[rows].sum() / tokens - mean * mean) / (tokens - 1))
        covers += abs(found.loss - truth) <= found.half
        token_covers += abs(mean - truth) <= Z_95 * error
        means.append(mean)
        ours.append(found.error)
        token.append(error)
        tells.append(found.tells)
    return {
        "perplexity": math.exp(truth),
        "sd": float(np.std(means)),
        "ours": float(np.mean(ours)),
        "token": float(np.mean(token)),
        "covers": covers / draws,
        "token_covers": token_covers / draws,
        "tells": float(np.mean(tells)),
    }


def _draw(pool: Pool, design: str, n: int, chance: np.random.Generator) -> np.ndarray:
    if design != "neighbours":
        documents = chance.integers(0, len(pool.first), n)
        return pool.first[documents] + chance.integers(0, pool.count[documents])
    documents = chance.integers(0, len(pool.first), max(1, n // NEIGHBOURS))
    begin = chance.integers(0, pool.count[documents])
    turn = (begin[:, None] + np.arange(NEIGHBOURS)) % pool.count[documents][:, None]
    return (pool.first[documents][:, None] + turn).ravel()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--text", type=Path, metavar="FOLDER")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--panels", type=int, nargs="+", default=[30, 67, 200])
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
