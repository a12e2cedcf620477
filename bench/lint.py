"""The text lint measured: found damage, named classes, false positives, speed; documents and windows.

    PYTHONPATH=src:bench python bench/lint.py --texts zh.jsonl en.jsonl code.jsonl

Clean texts: those of the given files whose source no profile has learned, the lab's own handbook,
and sources of the standard library and of site-packages, in pieces of 4,000 characters. Damage:
bench/damage.py. Tricky clean texts: tests/text/tricky.py. Windows: blocks of 128 bytes of the lab.
"""

import argparse
import json
import random
import sysconfig
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.text.tricky import TRICKY

import machine
from damage import BREAKS
from profiles import is_held_out
from steadytrain.lab.spoiling import spoil
from steadytrain.lab.texts import Corpus, decode
from steadytrain.text import lint

PIECE = 4000
CLASSES = (*BREAKS, "clean")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--texts", type=Path, nargs="*", default=[])
    parser.add_argument("--most", type=int, default=150, help="clean texts of each domain")
    parser.add_argument("--windows", type=int, default=6000)
    parser.add_argument("--show", action="store_true", help="every mistake")
    options = parser.parse_args()
    print(machine.line())
    texts = _clean(options.texts, options.most)
    for name, some in texts.items():
        began = time.process_time()
        found = [lint(text, domain=name) for text in some]
        speed = sum(len(text.encode()) for text in some) / 1e6 / (time.process_time() - began)
        wrong = [(verdict, text) for verdict, text in zip(found, some, strict=True)
                 if verdict.verdict == "corrupt"]  # fmt: skip
        print(f"clean {name}: {len(some)} texts, {len(wrong)} called corrupt "
              f"({len(wrong) / len(some):.2%}), {speed:.1f} MB/s of one core")  # fmt: skip
        for verdict, text in wrong:
            print(f"    {verdict.kind}: {verdict.evidence} | {text[:60]!r}")
    wrong = [(name, lint(text, domain=domain)) for name, domain, text in TRICKY]
    wrong = [(name, verdict) for name, verdict in wrong if verdict.verdict == "corrupt"]
    print(
        f"tricky clean: {len(TRICKY)} texts, {len(wrong)} called corrupt ({len(wrong) / len(TRICKY):.1%})"
    )
    for name, verdict in wrong:
        print(f"    {name}: {verdict.kind}: {verdict.evidence}")
    _damage(texts, show=options.show)
    _windows(options.windows)


def _clean(paths: list[Path], most: int) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {"zh": [], "en": [], "code": []}
    for path in paths:
        for line in path.open(encoding="utf-8"):
            record = json.loads(line)
            if is_held_out(record["source"]):
                texts[record["domain"]].append(record["text"])
    folders = (Path(sysconfig.get_paths()["stdlib"]), Path(sysconfig.get_paths()["purelib"]))
    for folder in folders:
        for name, pattern in (
            ("code", "*.py"),
            ("en", "*.rst"),
            ("en", "*.md"),
            ("en", "METADATA"),
        ):
            for path in sorted(folder.rglob(pattern))[:6000:10]:
                if "awscli" in path.parts:
                    continue  # its pages of examples are JSON, not English
                text = path.read_text("utf-8", "ignore")[PIECE // 4 : PIECE + PIECE // 4]
                if len(text) > 400:
                    texts[name].append(text)
    corpus = Corpus.load(seed=0)
    del corpus
    handbook = Path(__file__).parents[1] / "src" / "steadytrain" / "lab" / "handbook"
    for path in sorted(handbook.glob("*.md")):
        text = path.read_text("utf-8")
        texts["zh"] += [text[at : at + PIECE] for at in range(0, len(text) - 400, PIECE)]
    chance = random.Random(0)
    return {name: chance.sample(some, min(most, len(some))) for name, some in texts.items()}


def _damage(texts: Mapping[str, list[str]], *, show: bool) -> None:
    table: Counter[tuple[str, str]] = Counter()
    rows = []
    for kind, breaks in BREAKS.items():
        for name, spoil_text in breaks:
            chance = random.Random(name)
            found, right, total = 0, 0, 0
            for domain, some in texts.items():
                if kind == "wrong_domain" and name == domain:
                    continue
                if kind == "markup" and domain == "code":
                    continue
                for text in some[:40]:
                    broken = spoil_text(text, chance, texts)
                    if broken is None or len(broken) < 100:
                        continue
                    verdict = lint(broken, domain=domain)
                    said = verdict.kind if verdict.verdict == "corrupt" else "clean"
                    table[(kind, said or "clean")] += 1
                    total += 1
                    found += said != "clean"
                    right += said == kind
                    if show and said != kind:
                        print(
                            f"    {kind}/{name} in {domain}: {said}: {verdict.evidence} | {broken[:50]!r}"
                        )
            rows.append((kind, name, total, found / max(1, total), right / max(1, total)))
    for kind, name, total, recall, exact in rows:
        print(f"{kind:<13} {name:<24} {total:>4} texts, found {recall:.3f}, named {exact:.3f}")
    print(f"{'is / said':<14}" + "".join(f"{name:>14}" for name in CLASSES))
    for kind in BREAKS:
        print(f"{kind:<14}" + "".join(f"{table[(kind, said)]:>14}" for said in CLASSES))
    total = sum(table.values())
    found = total - sum(table[(kind, "clean")] for kind in BREAKS)
    right = sum(table[(kind, kind)] for kind in BREAKS)
    print(f"damaged: {total} texts, recall {found / total:.3f}, right class {right / total:.3f}")


def _windows(count: int) -> None:
    corpus = Corpus.load(seed=0)
    texts: dict[str, list[tuple[int, str]]] = {name: [] for name in corpus.domains}
    for draw in range(count):
        texts[corpus.domains[corpus.block(draw).domain]].append((draw, corpus.text(draw)))
    for name, clean in texts.items():
        wrong = sum(lint(text, domain=name).verdict == "corrupt" for _, text in clean)
        shares = []
        for kind, defect in (
            ("garbled", "garbled"), ("newlines", "blank"), ("encoded", "encoded"),
            ("repetition", "repetition"), ("markup", "markup"),
        ):  # fmt: skip
            if kind == "markup" and name == "code":
                continue
            broken = [
                decode(spoil(kind, corpus.block(draw).tokens, text, draw))
                for draw, text in clean[:400]
            ]
            hits = sum(lint(text, domain=name).kind == defect for text in broken)
            shares.append(f"{kind} {hits / len(broken):.3f}")
        print(f"windows of 128 bytes, {name}: {len(clean)} clean, {wrong} called corrupt "
              f"({wrong / len(clean):.2%}); named {', '.join(shares)}")  # fmt: skip


if __name__ == "__main__":
    main()
