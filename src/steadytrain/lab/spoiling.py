"""A corpus some of whose shards are bad: text that is broken, and an order that is."""

import base64
from collections.abc import Sequence

import numpy as np

from steadytrain.lab.faults import IN_ORDER, IN_TEXT, Fault
from steadytrain.lab.mixtures import Mixture
from steadytrain.lab.texts import Block, Corpus, decode

FAR = 1 << 20
"""Draws that no run of the lab reaches: where another mixture takes its blocks from."""

WINDOW_HAN = 12
"""A block with fewer Chinese characters stays readable when its bytes are read as GBK."""


class FaultyOrder:
    """A corpus with faults. Still a pure function of the draw."""

    def __init__(self, corpus: Corpus | Mixture, faults: Sequence[Fault]) -> None:
        self._corpus = corpus
        self._faults = [fault for fault in faults if fault.kind in (*IN_TEXT, *IN_ORDER)]
        self.domains = corpus.domains

    def block(self, draw: int) -> Block:
        for fault in self._faults:
            assert fault.first_draw is not None
            assert fault.end_draw is not None
            if fault.first_draw <= draw < fault.end_draw:
                return self._spoiled(fault, draw)
        return self._corpus.block(draw)

    def text(self, draw: int) -> str:
        return decode(self.block(draw).tokens)

    def _spoiled(self, fault: Fault, draw: int) -> Block:
        block = self._corpus.block(draw)
        assert fault.first_draw is not None
        assert fault.end_draw is not None
        assert fault.domain is not None
        if fault.kind == "repeated-batch":
            steps = (fault.end_draw - fault.first_draw) // 8
            return self._corpus.block(fault.first_draw + (draw - fault.first_draw) % steps)
        if fault.kind == "mixture":
            return block if draw % 5 == 0 else self._of_domain(fault.domain, draw)
        if block.domain != fault.domain:
            return block
        if fault.kind == "wrong-domain":
            others = [one for one in range(len(self.domains)) if one != fault.domain]
            tokens = self._of_domain(others[fault.seed % len(others)], draw).tokens
        else:
            tokens = spoil(fault.kind, block.tokens, self._corpus.text(draw), draw)
        return Block(tokens=tokens, domain=block.domain, source=block.source)

    def _of_domain(self, domain: int, draw: int) -> Block:
        """Another block of a domain for every draw."""
        at = FAR + draw
        while self._corpus.block(at).domain != domain:
            at += FAR
        return self._corpus.block(at)


def spoil(kind: str, tokens: np.ndarray, text: str, draw: int) -> np.ndarray:
    """The same number of bytes, broken in the way of a kind of IN_TEXT."""
    match kind:
        case "garbled":
            raw = _garbled(text, draw, len(tokens))
        case "newlines":
            raw = b"\n" * len(tokens)
        case "encoded":
            raw = base64.b64encode(text.encode())
            raw = raw.hex().encode() if draw % 2 else raw
        case "repetition":
            phrase = (text.strip() or "again and again").encode()[:24] + b" "
            phrase = phrase.decode("utf-8", "ignore").encode()
            raw = phrase * (1 + len(tokens) // len(phrase))
        case _:
            raw = _markup(text)
    return np.frombuffer(raw[: len(tokens)].ljust(len(tokens), b"\n"), dtype=np.uint8)


def _garbled(text: str, draw: int, size: int) -> bytes:
    """Half of the blocks: UTF-8 read as GBK, where that garbles. The others: random bytes."""
    misread = text.encode().decode("gbk", errors="replace")
    if draw % 2 == 0 and sum(char > "\u4e00" for char in misread) >= WINDOW_HAN:
        return misread.encode()
    return np.random.default_rng(draw).integers(0, 256, size, dtype=np.uint8).tobytes()


def _markup(text: str) -> bytes:
    words = text.split()[:6]
    cells = "".join(
        f'<td class="c{number}" style="width:{number}px"><span>{word[:8]}</span></td>'
        for number, word in enumerate(words)
    )
    return f'<tr class="row"><td><div class="cell"></div></td>{cells}</tr></table></div>'.encode()
