"""The text lint on windows of 128 bytes: found damage, false positives and speed, per domain.

Text is the lab's own or any given with --domain NAME=PATH; damage is what the lab injects.
"""

import argparse
import time

import numpy as np

import machine
from steadytrain.lab import faults
from steadytrain.lab.texts import Corpus, decode
from steadytrain.lab.train import parse_domains
from steadytrain.text import lint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=12_000)
    parser.add_argument("--domain", action="append", default=[], metavar="NAME=PATH")
    options = parser.parse_args()
    print(machine.line())
    corpus = Corpus.load(parse_domains(options.domain), seed=0)
    texts: dict[str, list[str]] = {name: [] for name in corpus.domains}
    blocks: dict[str, list[np.ndarray]] = {name: [] for name in corpus.domains}
    for draw in range(options.windows):
        block = corpus.block(draw)
        texts[corpus.domains[block.domain]].append(corpus.text(draw))
        blocks[corpus.domains[block.domain]].append(block.tokens)
    for name, clean in texts.items():
        began = time.perf_counter()
        wrong = sum(lint(text, domain=name).verdict == "corrupt" for text in clean)
        seconds = time.perf_counter() - began
        speed = sum(len(text.encode()) for text in clean) / 1e6 / seconds
        misread = [(faults._garble(t, x, 0), x) for t, x in zip(blocks[name], clean, strict=True)]
        misread = [t for t, x in misread if sum(char > "\u4e00" for char in x) >= 12]
        noise = [faults._garble(t, "", 2 * i + 1) for i, t in enumerate(blocks[name])]
        blank = [faults._blank(t, "", 0) for t in blocks[name]]
        print(
            f"{name}: {len(clean)} clean windows, {wrong} called corrupt ({wrong / len(clean):.2%}), "
            f"{speed:.1f} MB/s; UTF-8 read as GBK {_share(misread, name, 'garbled')}, "
            f"random bytes {_share(noise, name, 'garbled')}, newlines {_share(blank, name, 'blank')}"
        )


def _share(damaged: list[np.ndarray], domain: str, kind: str) -> str:
    if not damaged:
        return "-"
    found = sum(lint(decode(tokens), domain=domain).kind == kind for tokens in damaged)
    return f"{found / len(damaged):.2%} of {len(damaged)}"


if __name__ == "__main__":
    main()
