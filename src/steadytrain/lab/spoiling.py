"""A corpus some of whose shards are bad: text that is broken, and an order that is."""

import base64
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from steadytrain.lab.faults import IN_ORDER, IN_SHARD, IN_TEXT, SHARD, Fault
from steadytrain.lab.mixtures import Mixture
from steadytrain.lab.texts import Block, Corpus, decode
from steadytrain.panels import FixedPanel, PanelSequence

FAR = 1 << 20
"""Draws that no run of the lab reaches: where another mixture takes its blocks from."""

SHARD_SHARE = 0.5
"""Of a domain's documents, in a source that went bad."""

LEAKED_SHARE, NEARLY_SHARE = 0.25, 0.25
"""Of a domain's draws in a leak: sequences of the panel, and such with a few characters changed."""

EDITED = 4
"""Characters that an edited copy lacks."""

WINDOW_HAN = 12
"""A block with fewer Chinese characters stays readable when its bytes are read as GBK."""


class FaultyOrder:
    """A corpus with faults. Still a pure function of the draw.

    Args:
        panel: what a leak teaches.
    """

    def __init__(
        self, corpus: Corpus | Mixture, faults: Sequence[Fault], *, panel: FixedPanel | None = None
    ) -> None:
        self._corpus = corpus
        mine = (*IN_TEXT, *IN_SHARD, *IN_ORDER)
        found = [fault for fault in faults if fault.kind in mine]
        # Newest first: a bad batch is bad also while a bad shard is being read.
        self._faults = sorted(found, key=lambda fault: -(fault.first_draw or 0))
        self._panel: list[list[PanelSequence]] = [[] for _ in corpus.domains]
        for one in panel.sequences if panel is not None else ():
            self._panel[one.domain].append(one)
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
        if fault.kind == "leak":
            return self._leaked(fault, block, draw)
        if fault.kind in IN_SHARD:
            # Not its folder: the same faults must strike the same documents on every machine.
            document = block.source.rpartition("/")[2].rpartition(":")[0]
            if _chance(fault.seed, document) >= SHARD_SHARE:
                return block
        kind = fault.kind.removeprefix(SHARD)
        if kind == "wrong-domain":
            others = [one for one in range(len(self.domains)) if one != fault.domain]
            tokens = self._of_domain(others[fault.seed % len(others)], draw).tokens
        else:
            tokens = spoil(kind, block.tokens, self._corpus.text(draw), draw)
        return Block(tokens=tokens, domain=block.domain, source=block.source)

    def _leaked(self, fault: Fault, block: Block, draw: int) -> Block:
        """A panel sequence, one nearly so, or the block itself."""
        lot = _chance(fault.seed, "leak", draw)
        if lot >= LEAKED_SHARE + NEARLY_SHARE:
            return block
        own = self._panel[block.domain]
        found = own[int(len(own) * _chance(fault.seed, "which", draw))]
        chosen = found.tokens.astype(np.uint8)
        if lot >= LEAKED_SHARE:
            chosen = edited(chosen, block.tokens, _chance(fault.seed, "where", draw))
        return Block(tokens=chosen, domain=block.domain, source=block.source)

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


def edited(tokens: NDArray[np.uint8], other: NDArray[np.uint8], where: float) -> NDArray[np.uint8]:
    """The text with a few characters taken out at `where` in [0, 1), and as many bytes of another
    one at its end: a copy that someone worked on."""
    text = decode(tokens)
    at = int(where * max(1, len(text) - EDITED))
    raw = (text[:at] + text[at + EDITED :]).encode() + decode(other).encode()
    return np.frombuffer(raw[: len(tokens)].ljust(len(tokens), b"\n"), dtype=np.uint8)


def _chance(*key: object) -> float:
    """A number in [0, 1) that depends on the key alone."""
    digest = blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64


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
