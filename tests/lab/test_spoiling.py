"""Bad text and bad orders, made on purpose."""

import random

import numpy as np
import pytest

from steadytrain.lab import faults
from steadytrain.lab.faults import Fault
from steadytrain.lab.mixtures import Mixture
from steadytrain.lab.spoiling import (
    EDITED,
    LEAKED_SHARE,
    NEARLY_SHARE,
    SHARD_SHARE,
    FaultyOrder,
    edited,
    spoil,
)
from steadytrain.lab.texts import Corpus
from tests.lab.test_texts import write_documents

BEGIN, END = 3000, 6000


@pytest.fixture
def corpus(tmp_path):
    domains = {
        name: write_documents(tmp_path / f"{name}.jsonl", documents=90, seed=seed)
        for seed, name in enumerate(("zh", "en", "code"))
    }
    return Corpus.load(domains, seed=0, context=64, panel_sequences=30)


def faulty(corpus, kind, domain, *, panel=None):
    fault = Fault(kind=kind, step=1, seed=7, domain=domain, first_draw=BEGIN, end_draw=END)
    return FaultyOrder(corpus, [fault], panel=panel or corpus.panel)


def changed(corpus, order, draws):
    """Draws whose text is another than without the fault."""
    return [
        draw
        for draw in draws
        if corpus.block(draw).tokens.tobytes() != order.block(draw).tokens.tobytes()
    ]


def document(block):
    return block.source.rpartition(":")[0]


@pytest.mark.parametrize("kind", faults.IN_SHARD)
class TestShard:
    def test_the_same_half_of_the_domains_documents_is_bad_at_every_draw(self, corpus, kind):
        order = faulty(corpus, kind, domain=1)
        mine = [draw for draw in range(BEGIN, END) if corpus.block(draw).domain == 1]
        bad = changed(corpus, order, mine)
        bad_documents = {document(corpus.block(draw)) for draw in bad}
        good_documents = {document(corpus.block(draw)) for draw in set(mine) - set(bad)}
        assert not bad_documents & good_documents
        assert len(bad) / len(mine) == pytest.approx(SHARD_SHARE, abs=0.15)

    def test_other_domains_and_other_draws_are_left_alone(self, corpus, kind):
        order = faulty(corpus, kind, domain=1)
        others = [draw for draw in range(BEGIN, END) if corpus.block(draw).domain != 1]
        assert changed(corpus, order, [*others, *range(BEGIN), *range(END, END + 500)]) == []

    def test_a_bad_block_is_broken_as_the_kind_says_and_keeps_its_source(self, corpus, kind):
        order = faulty(corpus, kind, domain=0)
        draw = changed(corpus, order, range(BEGIN, END))[0]
        clean, found = corpus.block(draw), order.block(draw)
        assert (found.source, found.domain) == (clean.source, clean.domain)
        if kind == "shard-wrong-domain":
            texts = {corpus.take(domain, turn).tokens.tobytes() for domain in (1, 2) for turn in range(corpus.num_blocks[corpus.domains[domain]])}  # fmt: skip
            assert found.tokens.tobytes() in texts
        else:
            same = spoil(kind.removeprefix("shard-"), clean.tokens, corpus.text(draw), draw)
            assert found.tokens.tobytes() == same.tobytes()


class TestLeak:
    def test_a_quarter_of_the_domains_draws_are_of_its_panel_and_a_quarter_nearly(self, corpus):
        order = faulty(corpus, "leak", domain=0)
        panel = {one.tokens.tobytes() for one in corpus.panel.sequences if one.domain == 0}
        mine = [draw for draw in range(BEGIN, END) if corpus.block(draw).domain == 0]
        bad = changed(corpus, order, mine)
        exact = [draw for draw in bad if order.block(draw).tokens.tobytes() in panel]
        assert len(exact) / len(mine) == pytest.approx(LEAKED_SHARE, abs=0.05)
        assert len(bad) / len(mine) == pytest.approx(LEAKED_SHARE + NEARLY_SHARE, abs=0.05)
        assert {order.block(draw).tokens.tobytes() for draw in exact} == panel

    def test_the_near_copies_differ_from_a_panel_sequence_by_a_few_characters(self, corpus):
        order = faulty(corpus, "leak", domain=0)
        own = [one.tokens.tobytes() for one in corpus.panel.sequences if one.domain == 0]
        near = [
            order.block(draw).tokens.tobytes() for draw in changed(corpus, order, range(BEGIN, END))
        ]
        near = [text for text in near if text not in own]
        assert near
        for text in near:
            assert any(_is_near(text, one) for one in own)

    def test_other_domains_and_other_draws_are_left_alone(self, corpus):
        order = faulty(corpus, "leak", domain=0)
        others = [draw for draw in range(BEGIN, END) if corpus.block(draw).domain != 0]
        assert changed(corpus, order, [*others, *range(BEGIN), *range(END, END + 500)]) == []

    def test_a_leak_also_comes_where_shares_change(self, corpus):
        mixture = Mixture(corpus, ((0, (0.2, 0.4, 0.4)), (BEGIN, (0.8, 0.1, 0.1))))
        order = faulty(mixture, "leak", domain=2, panel=corpus.panel)
        bad = changed(mixture, order, range(BEGIN, END))
        assert {mixture.block(draw).domain for draw in bad} == {2}

    def test_an_edited_copy_stays_text_of_its_length(self):
        text, other = "春眠不觉晓，处处闻啼鸟。" * 4, "fill" * 40
        tokens = np.frombuffer(text.encode()[:100], np.uint8)
        for where in (0.0, 0.3, 0.999):
            found = edited(tokens, np.frombuffer(other.encode(), np.uint8), where)
            assert len(found) == 100
            assert "\ufffd" not in found.tobytes().decode("utf-8", "replace")
            assert found.tobytes() != tokens.tobytes()


class TestTogether:
    def test_a_fault_that_began_later_is_seen_inside_one_that_lasts(self, corpus):
        lasting = Fault(kind="shard-garbled", step=1, seed=1, domain=0, first_draw=0, end_draw=END)
        short = Fault(kind="newlines", step=9, seed=1, domain=0, first_draw=400, end_draw=500)
        order = FaultyOrder(corpus, [lasting, short])
        mine = [draw for draw in range(400, 500) if corpus.block(draw).domain == 0]
        assert all(order.text(draw).strip("\n") == "" for draw in mine)

    def test_a_draw_does_not_depend_on_the_draws_before_it(self, corpus):
        draws = list(range(BEGIN, BEGIN + 300))
        forwards = [faulty(corpus, "leak", 0).block(draw).tokens.tobytes() for draw in draws]
        order = faulty(corpus, "leak", 0)
        backwards = [order.block(draw).tokens.tobytes() for draw in reversed(draws)]
        assert backwards[::-1] == forwards

    def test_a_planned_shard_or_leak_lasts_and_may_name_its_domain(self):
        planned = faults.at(
            "leak:en", 11, random.Random(0), domains=("zh", "en", "code"), draws_per_step=8
        )
        assert (planned.domain, planned.first_draw, planned.end_draw) == (1, 80, 80 + 400 * 8)


def _is_near(text, one):
    """Whether one text is the other without a few characters, and something else at its end."""
    kept = next((k for k in range(len(one)) if text[k] != one[k]), len(one))
    rest = [text.startswith(one[:kept] + one[kept + cut :]) for cut in range(4 * EDITED)]
    return any(rest)
