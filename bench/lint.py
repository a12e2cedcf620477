"""The text lint measured: found damage, named classes, false positives, speed; documents and windows.

    PYTHONPATH=src:bench:. python bench/lint.py --texts zh.jsonl en.jsonl code.jsonl --unseen more.jsonl

Clean texts: bench/clean.py, the half that no rule was written with in view. Damage: bench/damage.py.
Tricky clean texts: tests/text/tricky.py. Windows: blocks of 128 bytes of the lab. A JSON line has
domain, source, text; domain zh-hant is traditional Chinese, judged as zh; "other" is judged undeclared.
"""

import argparse
import random
import time
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.text.tricky import TRICKY

import clean
import machine
from damage import BREAKS
from steadytrain.lab.spoiling import spoil
from steadytrain.lab.texts import Corpus, decode
from steadytrain.text import Habits, lint

CLASSES = (*BREAKS, "clean")
SAME = {"traditional": "zh"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--texts", type=Path, nargs="*", default=[], help="a fifth was held out")
    parser.add_argument("--unseen", type=Path, nargs="*", default=[], help="nothing was learned")
    parser.add_argument("--half", choices=("tune", "test"), default="test")
    parser.add_argument("--most", type=int, default=1000, help="clean texts of each domain")
    parser.add_argument("--each", type=int, default=40, help="texts per domain and kind of damage")
    parser.add_argument("--windows", type=int, default=6000)
    parser.add_argument("--show", action="store_true", help="every mistake")
    options = parser.parse_args()
    print(machine.line())
    lint("\u4e00")  # the table of characters is made once
    texts = clean.texts(options.texts, options.unseen, half=options.half, most=options.most)
    _clean(texts, show=options.show)
    _tricky()
    _damage(texts, each=options.each, show=options.show)
    _habits(texts, each=options.each)
    _windows(options.windows)


def _domain(name: str) -> str | None:
    return None if name == "other" else name.split("-")[0]


def _clean(texts: Mapping[str, list[str]], *, show: bool) -> None:
    for name, some in texts.items():
        megabytes = sum(len(text.encode()) for text in some) / 1e6
        found = [lint(text, domain=_domain(name)) for text in some]
        wrong = [(verdict, text) for verdict, text in zip(found, some, strict=True)
                 if verdict.verdict == "corrupt"]  # fmt: skip
        began = time.process_time()
        for text in some:
            lint(text)
        first = megabytes / (time.process_time() - began)
        began = time.process_time()
        for text in some:
            lint(text, domain=_domain(name))
        declared = megabytes / (time.process_time() - began)
        began = time.process_time()
        for text in some:
            zlib.compress(text.encode(), 6)
        squeezed = megabytes / (time.process_time() - began)
        print(f"clean {name}: {len(some)} texts, {len(wrong)} called corrupt "
              f"({len(wrong) / len(some):.2%}); {first:.1f} MB/s without, {declared:.1f} MB/s with "
              f"a domain and its profiles (zlib at level 6: {squeezed:.1f})")  # fmt: skip
        for verdict, text in wrong if show else wrong[:6]:
            print(f"    {verdict.kind}: {verdict.evidence} | {text[:60]!r}")


def _tricky() -> None:
    found = [(name, lint(text, domain=domain)) for name, domain, text in TRICKY]
    wrong = [(name, verdict) for name, verdict in found if verdict.verdict == "corrupt"]
    share = len(wrong) / len(TRICKY)
    print(f"tricky clean: {len(TRICKY)} texts, {len(wrong)} called corrupt ({share:.1%})")
    for name, verdict in wrong:
        print(f"    {name}: {verdict.kind}: {verdict.evidence}")
    odd = [(pattern, lint(text, domain="code")) for pattern, text in clean.odd_files()]
    wrong = [(pattern, verdict) for pattern, verdict in odd if verdict.verdict == "corrupt"]
    kinds = len({pattern for pattern, _ in odd})
    print(f"odd files of {kinds} endings: {len(odd)}, {len(wrong)} called corrupt "
          f"({len(wrong) / max(1, len(odd)):.1%})")  # fmt: skip
    for pattern, verdict in wrong:
        print(f"    {pattern}: {verdict.kind}: {verdict.evidence}")


def _damage(texts: Mapping[str, list[str]], *, each: int, show: bool) -> None:
    table: Counter[tuple[str, str]] = Counter()
    by_domain: Counter[tuple[str, str]] = Counter()
    for kind, breaks in BREAKS.items():
        for name, spoil_text in breaks:
            here: Counter[str] = Counter()
            for domain, broken in _broken(kind, name, spoil_text, texts, each):
                verdict = lint(broken, domain=_domain(domain))
                said = (verdict.kind if verdict.verdict == "corrupt" else None) or "clean"
                here[said] += 1
                by_domain[(domain, "all")] += 1
                by_domain[(domain, "found")] += said != "clean"
                by_domain[(domain, "right")] += said == kind
                if show and said != kind:
                    print(f"    {kind}/{name} in {domain}: {said}: {verdict.evidence} "
                          f"| {broken[:50]!r}")  # fmt: skip
            for said, number in here.items():
                table[(kind, said)] += number
            total = max(1, here.total())
            print(f"{kind:<13} {name:<26} {here.total():>4} texts, found "
                  f"{1 - here['clean'] / total:.3f}, named {here[kind] / total:.3f}")  # fmt: skip
    print(f"{'is / said':<14}" + "".join(f"{name:>14}" for name in CLASSES))
    for kind in BREAKS:
        print(f"{kind:<14}" + "".join(f"{table[(kind, said)]:>14}" for said in CLASSES))
    for domain in texts:
        total = by_domain[(domain, "all")]
        if total:
            print(f"damaged {domain}: {total} texts, recall {by_domain[(domain, 'found')] / total:.3f}, "
                  f"right class {by_domain[(domain, 'right')] / total:.3f}")  # fmt: skip
    total = table.total()
    found = total - sum(table[(kind, "clean")] for kind in BREAKS)
    right = sum(table[(kind, kind)] for kind in BREAKS)
    print(f"damaged: {total} texts, recall {found / total:.3f}, right class {right / total:.3f}")


def _broken(kind, name, spoil_text, texts, each):  # type: ignore[no-untyped-def]
    chance = random.Random(name)
    for domain, some in texts.items():
        top = _domain(domain)
        if top is None or (kind == "markup" and top == "code"):
            continue
        if kind == "wrong_domain" and (SAME.get(name, name) == top or domain == "zh-hant"):
            continue
        for text in some[:each]:
            broken = spoil_text(text, chance, texts)
            if broken is not None and len(broken) >= 100:
                yield domain, broken


def _habits(texts: Mapping[str, list[str]], *, each: int) -> None:
    """Limits learned from one half of the clean texts, false positives on the other, recall."""
    for domain, some in texts.items():
        if _domain(domain) is None:
            continue
        habits = Habits.learn(some[::2], domain=_domain(domain))
        wrong = [
            sum(
                lint(text, domain=_domain(domain), habits=one).verdict == "corrupt"
                for text in some[1::2]
            )
            for one in (None, habits)
        ]
        hits: Counter[str] = Counter()
        for kind, breaks in BREAKS.items():
            for name, spoil_text in breaks:
                for _, broken in _broken(
                    kind,
                    name,
                    spoil_text,
                    {
                        **texts,
                        **{
                            other: []
                            for other in texts
                            if other != domain and kind != "wrong_domain"
                        },
                    },
                    each // 4,
                ):
                    if _ != domain:
                        continue
                    hits["all"] += 1
                    found = lint(broken, domain=_domain(domain), habits=habits)
                    hits["found"] += found.verdict == "corrupt"
        print(f"habits of {domain}: {wrong[0]} called corrupt before, {wrong[1]} after, of "
              f"{len(some[1::2])}; recall after {hits['found'] / max(1, hits['all']):.3f}; {habits}")  # fmt: skip


def _windows(count: int) -> None:
    corpus = Corpus.load(seed=0)
    texts: dict[str, list[tuple[int, str]]] = {name: [] for name in corpus.domains}
    for draw in range(count):
        texts[corpus.domains[corpus.block(draw).domain]].append((draw, corpus.text(draw)))
    for name, healthy in texts.items():
        wrong = sum(lint(text, domain=name).verdict == "corrupt" for _, text in healthy)
        shares = []
        for kind, defect in (
            ("garbled", "garbled"), ("newlines", "blank"), ("encoded", "encoded"),
            ("repetition", "repetition"), ("markup", "markup"),
        ):  # fmt: skip
            if kind == "markup" and name == "code":
                continue
            broken = [
                decode(spoil(kind, corpus.block(draw).tokens, text, draw))
                for draw, text in healthy[:400]
            ]
            hits = sum(lint(text, domain=name).kind == defect for text in broken)
            shares.append(f"{kind} {hits / len(broken):.3f}")
        print(f"windows of 128 bytes, {name}: {len(healthy)} clean, {wrong} called corrupt "
              f"({wrong / len(healthy):.2%}); named {', '.join(shares)}")  # fmt: skip


if __name__ == "__main__":
    main()
