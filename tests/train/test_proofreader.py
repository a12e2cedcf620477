"""Texts are read before their update lands, alone and with those of their domain."""

from dataclasses import dataclass

import numpy as np
import pytest

from steadytrain.lab.texts import Corpus
from steadytrain.panels.overlap import Overlap
from steadytrain.train.proofreader import Proofreader, count_leaked


@dataclass(frozen=True)
class Piece:
    tokens: np.ndarray
    domain: int
    source: str = "a:0"
    num_bytes: int = 128


class Order:
    """The lab's text; from draw 6000 on, domain `wrong` holds another domain's text."""

    def __init__(self, wrong=None, spoiled=()):
        self._corpus = Corpus.load(seed=1)
        self._wrong, self._spoiled = wrong, spoiled
        self.domains = self._corpus.domains

    def block(self, draw):
        return self._corpus.block(draw)

    def text(self, draw):
        domain = self._corpus.block(draw).domain
        if draw in self._spoiled:
            return "\n" * 129
        if self._wrong is not None and draw >= 6000 and self.domains[domain] == self._wrong[0]:
            at = draw
            while self.domains[self._corpus.block(at).domain] != self._wrong[1]:
                at += 1
            return self._corpus.text(at)
        return self._corpus.text(draw)


def defects(order, draws):
    return [one.defect for one in Proofreader(order).read(draws)]


def test_clean_batches_are_clean():
    reader = Proofreader(Order())
    for size in (16, 32):
        batches = [reader.read(range(at, at + size)) for at in range(4000, 7200, size)]
        found = [[one.defect for one in batch if one.defect] for batch in batches]
        assert sum(map(bool, found)) <= 1
        assert not any("wrong_domain" in one for one in found)


def test_one_corrupt_sequence_is_found_with_its_draw():
    found = Proofreader(Order(spoiled={6005})).read(range(6000, 6032))
    assert [(one.draw, one.defect) for one in found if one.defect] == [(6005, "blank")]


@pytest.mark.parametrize("wrong", [("zh", "en"), ("zh", "code"), ("en", "zh"), ("code", "zh")])
def test_a_batch_of_another_language_is_foreign_though_no_window_tells(wrong):
    order = Order(wrong)
    found = Proofreader(order).read(range(6400, 6432))
    mine = [one.defect for one in found if order.domains[one.domain] == wrong[0]]
    assert set(mine) <= {"wrong_domain", None}
    assert mine.count("wrong_domain") >= 0.5 * len(mine)


def test_a_few_short_texts_are_not_judged_together():
    order = Order(("code", "en"))
    draws = [at for at in range(6400, 6500) if order.domains[order.block(at).domain] == "code"]
    assert set(defects(order, draws[:3])) == {None}


def test_a_restart_learns_the_same_wherever_the_run_stands():
    order = Order()
    one, other = Proofreader(order), Proofreader(order)
    one.read(range(32))
    other.read(range(9000, 9032))
    assert [one._together[name].effects for name in order.domains] == [
        other._together[name].effects for name in order.domains
    ]
    assert one._habits == other._habits


class Leaky(Order):
    """From draw 6000 on, every eighth draw holds text of its domain's panel, cut elsewhere."""

    @property
    def panel(self):
        return self._corpus.panel

    def leak(self, draw):
        """The panel sequence whose text a draw holds."""
        domain = self._corpus.block(draw).domain
        mine = [at for at, one in enumerate(self.panel.sequences) if one.domain == domain]
        return mine[draw % len(mine)]

    def text(self, draw):
        text = super().text(draw)
        if draw >= 6000 and draw % 8 == 0:
            held = self.panel.sequences[self.leak(draw)].text
            fifth = len(text) // 5
            return text[-fifth:] + held[: -len(held) // 5].replace(" ", "\n")
        return text


@pytest.fixture(scope="module")
def leaky():
    order = Leaky()
    overlap = Overlap(order.panel)
    return order, overlap, Proofreader(order, overlap)


def test_text_of_the_panel_is_found_with_its_sequence(leaky):
    order, overlap, reader = leaky
    found = reader.read(range(6000, 6800))
    told = {one.draw: one.leaked for one in found if one.leaked is not None}
    can_see = {at for at in range(6000, 6800, 8) if order.leak(at) not in overlap.blind}
    assert len(can_see) > 80
    assert len(can_see & told.keys()) >= 0.85 * len(can_see)  # 128 bytes are few
    assert all(told[draw] == order.leak(draw) for draw in can_see & told.keys())
    assert len(told.keys() - set(range(6000, 6800, 8))) <= 2
    assert sum(count_leaked(found, 3)) == len(told)


def test_what_leaked_is_no_corrupt_text_and_has_a_mark_of_its_own(leaky):
    order, overlap, reader = leaky
    found = [one for one in reader.read(range(6000, 6320)) if one.leaked is not None]
    assert found
    assert {one.defect for one in found} == {None}
    assert {one.mark for one in found} == {"panel"}


def test_clean_text_of_the_same_domains_does_not_shout(leaky):
    order, overlap, reader = leaky
    found = reader.read(range(2048, 5048))
    assert sum(one.leaked is not None for one in found) <= 6


def test_without_a_panel_nothing_leaks():
    assert all(one.leaked is None for one in Proofreader(Leaky()).read(range(6000, 6032)))
