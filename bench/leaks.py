"""Text of the panel in training text: what is found of real leaks, what clean text is called one.

A panel is drawn from a corpus by windows of a few sizes. Then for each size and share of a panel
sequence that makes a leak:

clean   windows of the documents that the panel was not drawn from, called leaked, with and without
        what was learned to be boilerplate; blind: panel sequences that cannot be found
leaks   the panel's documents behind other text, cut into windows: panel sequences of which a
        window is found; as they are, with other line breaks and case, and with one character in so
        many changed
cost    processor time to look them up over that to read them as the proofreader does without

python bench/leaks.py zh=zh.jsonl en=en.jsonl    (the lab's own text if none)
"""

import argparse
import random
import time
from collections.abc import Sequence

import machine
from steadytrain.lab.documents import read_domain
from steadytrain.panels import FixedPanel, draw
from steadytrain.panels.overlap import Overlap
from steadytrain.train.proofreader import Proofreader

Documents = dict[str, list[tuple[str, str]]]
"""Domain -> (source, text)."""

EDITS = (200, 100, 50, 25, 12)
LEARNED = 2048


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("domains", nargs="*", metavar="NAME=PATH")
    parser.add_argument("--windows", type=int, nargs="+", default=[128, 512, 2048])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.3, 0.4, 0.5, 0.7])
    parser.add_argument("--per-domain", type=int, default=200)
    parser.add_argument("--show", type=int, default=0, help="clean windows called leaked to print")
    options = parser.parse_args()
    documents = read(options.domains)
    for window in options.windows:
        panel = draw(
            [(name, text, source) for name, mine in documents.items() for source, text in mine],
            domains=tuple(documents), seed=0, encode=str.encode, window=window,
            tokenizer="bytes", per_domain=options.per_domain,
        )  # fmt: skip
        print(f"\nwindows of {window} bytes: {[len(one) for one in panel.lengths]} {panel.notes}")
        measure(panel, documents, window, options.shares, options.show)
    print(machine.line())


def read(given: Sequence[str]) -> Documents:
    wheres = dict(one.split("=", 1) for one in given) or dict.fromkeys(("zh", "en", "code"))
    return {
        name: [(one.source, one.text.decode()) for one in read_domain(name, where)]
        for name, where in wheres.items()
    }


def measure(
    panel: FixedPanel, documents: Documents, window: int, shares: Sequence[float], show: int
) -> None:
    own = {one.source for one in panel.sequences}
    chance = random.Random(0)
    clean = [
        (at, piece)
        for at, mine in enumerate(documents.values())
        for source, text in mine
        if source not in own
        for piece in cut(text, window)
    ]
    texts = {source: text for mine in documents.values() for source, text in mine}
    learned = chance.sample([piece for _, piece in clean], min(LEARNED, len(clean)))
    leaks = {
        "as they are": lambda text: text,
        "other breaks": lambda text: "\n".join(text.upper().split()),
        **{f"1 in {one}": lambda text, one=one: edited(text, one, chance) for one in EDITS},
    }
    print(f"{len(clean)} clean windows; {'share':>6} {'blind':>6} {'clean %':>8} {'learned %':>9}"
          f"  found % of leaks: {', '.join(leaks)}")  # fmt: skip
    for share in shares:
        overlap = Overlap(panel, share=share)
        rates = [rate(overlap, clean)]
        overlap.learn_common(learned)
        rates.append(rate(overlap, clean))
        seen = [at for at in range(len(panel.sequences)) if at not in set(overlap.blind)]
        found = []
        for change in leaks.values():
            hit = 0
            for at in seen:
                whole = texts[panel.sequences[at].source]
                begin = whole.index(panel.sequences[at].text)
                near = whole[max(0, begin - 2 * window) : begin + 3 * window]
                before = chance.choice(clean)[1][: chance.randrange(1, window)]
                pieces = cut(before + change(near), window)
                hit += any(one and one.sequence == at for one in overlap.find(pieces))
            found.append(100 * hit / len(seen))
        print(
            f"{'':>{len(str(len(clean))) + 15}} {share:>6} {len(overlap.blind):>6} {rates[0]:>8.2f} "
            f"{rates[1]:>9.2f}  {' '.join(f'{one:6.1f}' for one in found)}"
        )
        for (_, piece), one in zip(clean, overlap.find([one for _, one in clean]), strict=True):
            if show and one:
                show -= 1
                print(f"    {one.share:.2f} {piece[:80]!r}\n         "
                      f"{panel.sequences[one.sequence].text[:80]!r}")  # fmt: skip
    cost(panel, clean[:4000])


def rate(overlap: Overlap, clean: Sequence[tuple[int, str]]) -> float:
    found = overlap.find([piece for _, piece in clean])
    return 100 * sum(one is not None for one in found) / len(clean)


def cost(panel: FixedPanel, clean: Sequence[tuple[int, str]]) -> None:
    class Order:
        domains = panel.domains

        def block(self, draw: int) -> object:
            return type("Block", (), {"domain": clean[draw % len(clean)][0]})

        def text(self, draw: int) -> str:
            return clean[draw % len(clean)][1]

    reader, overlap = Proofreader(Order()), Overlap(panel)  # type: ignore[arg-type]
    reader.read(range(32))  # learns
    seconds = []
    for look in (lambda draws: reader.read(draws), lambda draws: overlap.find(
        [clean[at % len(clean)][1] for at in draws])):  # fmt: skip
        began = time.process_time()
        for first in range(0, len(clean), 32):
            look(range(first, first + 32))
        seconds.append(time.process_time() - began)
    size = sum(len(piece.encode()) for _, piece in clean) / 1e6
    print(f"cost: reading {size / seconds[0]:.1f} MB/s, looking up {size / seconds[1]:.1f} MB/s: "
          f"{100 * seconds[1] / seconds[0]:.1f} % of reading; {1e6 * seconds[1] / len(clean):.0f} us "
          "a sequence")  # fmt: skip


def cut(text: str, window: int) -> list[str]:
    raw = text.encode()
    return [raw[at : at + window].decode("utf-8", "ignore") for at in range(0, len(raw), window)]


def edited(text: str, every: int, chance: random.Random) -> str:
    return "".join("x" if chance.random() < 1 / every else char for char in text)


if __name__ == "__main__":
    main()
