"""Texts are read before their update lands, alone and with those of their domain."""

from dataclasses import dataclass

import numpy as np
import pytest

from steadytrain.lab.texts import Corpus
from steadytrain.train.proofreader import Proofreader


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
    order = Order()
    reader = Proofreader(order)
    wrong = sum(
        any(one.defect for one in reader.read(range(first, first + 32)))
        for first in range(4000, 7200, 32)
    )
    assert wrong <= 1


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
    assert one._leads == other._leads
    assert one._habits == other._habits
