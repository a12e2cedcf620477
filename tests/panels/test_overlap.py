"""Text of a panel is found wherever it stands; what many texts have in common is not."""

import random

import numpy as np
import pytest

from steadytrain.corpora import SkipList
from steadytrain.corpora.documents import Document, lost
from steadytrain.panels import FixedPanel, PanelSequence, draw
from steadytrain.panels.overlap import Overlap, draws_holding, exclude
from steadytrain.text.shingles import SIZE, folded, shingles
from tests.panels.test_drawing import corpus, prose

LICENCE = (
    "Permission is hereby granted, free of charge, to any person obtaining a copy of this software "
    "and associated documentation files, to deal in the Software without restriction. "
)


def panel_of(*texts, documents=None):
    return FixedPanel(
        sequences=tuple(
            PanelSequence(
                domain=0, tokens=np.array([1, 2]), num_bytes=1, text=text, source=f"p{at}",
                document=documents[at] if documents else "",
            )
            for at, text in enumerate(texts)
        ),
        domains=("en",),
    )  # fmt: skip


def found(panel, *texts):
    return [None if one is None else one.sequence for one in Overlap(panel).find(texts)]


class TestShingles:
    def test_equal_stretches_have_equal_hashes_wherever_they_stand(self):
        text = prose(1)
        one, other = shingles(folded(text)), shingles(folded("xyz" + text))
        assert np.array_equal(one, other[3:])
        assert len(one) == len(folded(text)) - SIZE + 1
        assert len(np.unique(one)) == len(one)

    def test_a_text_that_is_too_short_has_none(self):
        assert len(shingles(b"x" * (SIZE - 1))) == 0
        assert len(shingles(b"x" * SIZE)) == 1

    def test_they_are_the_same_on_every_machine(self):
        assert shingles(bytes(range(33, 65))).tolist() == [227194718053882015]

    def test_a_change_of_one_byte_changes_those_that_hold_it(self):
        raw = folded(prose(1))
        other = raw[:100] + bytes([raw[100] ^ 1]) + raw[101:]
        differ = np.flatnonzero(shingles(raw) != shingles(other))
        assert differ.tolist() == list(range(100 - SIZE + 1, 101))


class TestFind:
    def test_other_text_is_not_found(self):
        panel = panel_of(*(prose(at, words=30) for at in range(40)))
        assert not any(Overlap(panel).find([prose(at) for at in range(100, 300)]))

    def test_the_text_is_found_inside_another_with_other_breaks_and_case(self):
        text = prose(1, words=30)
        panel = panel_of(prose(2, words=30), text)
        inside = prose(3) + text.upper().replace(" ", "\n\t") + prose(4)
        assert found(panel, inside, prose(5)) == [1, None]

    def test_a_part_is_found_from_two_fifths_on(self):
        text = prose(1, words=60)
        panel = panel_of(text)
        for part, expected in ((0.3, None), (0.55, 0)):
            assert found(panel, text[: int(part * len(text))] + prose(2)) == [expected]

    def test_a_shorter_text_that_stands_in_the_panel_is_found(self):
        text = prose(1, words=60)
        assert found(panel_of(text), text[100:300]) == [0]
        assert found(panel_of(text), text[100:160]) == [None]  # an eighth: too little

    def test_near_duplicates_are_found(self):
        words = prose(1, words=100).split()
        chance = random.Random(0)
        for at in chance.sample(range(100), 8):
            words[at] = "changed"
        assert found(panel_of(prose(1, words=100)), " ".join(words)) == [0]

    def test_what_reaches_over_the_edge_of_two_texts_is_not_found(self):
        text = prose(1, words=30)
        half = len(text) // 5
        panel = panel_of(text)
        pieces = [text[at * half : (at + 1) * half] for at in range(5)]
        assert Overlap(panel).find(pieces) == [Overlap(panel).find([one])[0] for one in pieces]

    def test_rulers_and_tables_are_no_text(self):
        panel = panel_of("-" * 200 + "|" + " - " * 100, "=" * 80 + "+---" * 40)
        assert found(panel, "-" * 2000, "=" * 500) == [None, None]
        assert Overlap(panel).blind == (0, 1)

    def test_what_two_documents_of_the_panel_share_is_boilerplate(self):
        panel = panel_of(LICENCE + prose(1, words=5), LICENCE + prose(2, words=5))
        assert found(panel, LICENCE + prose(3)) == [None]
        assert found(panel, LICENCE + prose(1, words=5)) == [0] or Overlap(panel).blind

    def test_two_windows_of_one_document_may_share(self):
        text = prose(1, words=60)
        panel = panel_of(text, text[200:], documents=["d", "d"])
        assert found(panel, text) == [0]

    def test_what_stands_in_many_training_texts_is_learned_as_boilerplate(self):
        panel = panel_of(LICENCE + prose(1, words=3), prose(2, words=30))
        overlap = Overlap(panel)
        assert overlap.find([LICENCE + prose(9)])[0].sequence == 0
        overlap.learn_common([LICENCE + prose(at) for at in range(10, 13)])
        assert overlap.find([LICENCE + prose(9), prose(2, words=30)])[0] is None
        assert overlap.find([prose(2, words=30)])[0].sequence == 1

    def test_a_sequence_that_training_texts_hold_whole_is_common(self):
        panel = panel_of(prose(1, words=30), prose(2, words=30))
        overlap = Overlap(panel)
        overlap.learn_common([prose(at) + prose(1, words=30) for at in range(5, 8)])
        assert overlap.common == overlap.blind == (0,)

    def test_a_copy_that_is_read_again_and_again_is_no_boilerplate(self):
        text = prose(1, words=30)
        overlap = Overlap(panel_of(text))
        overlap.learn_common([text] * 50)
        assert overlap.find([text])[0].sequence == 0

    def test_a_panel_without_text_finds_nothing_and_says_so(self):
        overlap = Overlap(panel_of("", "short"))
        assert overlap.blind == (0, 1)
        assert overlap.find(["", "short", prose(1)]) == [None] * 3
        assert overlap.find([]) == []

    @pytest.mark.parametrize("seed", range(5))
    def test_shares_are_those_of_a_slow_count(self, seed):
        chance = random.Random(seed)
        texts = [prose((seed, at).__repr__(), words=40) for at in range(6)]
        overlap = Overlap(panel_of(*texts), share=0.05)
        mixed = [
            "".join(chance.choice(texts)[chance.randrange(200) :][:150] for _ in range(3))
            for _ in range(20)
        ]
        for text, one in zip(mixed, overlap.find(mixed), strict=True):
            raw = folded(text)
            windows = {raw[at : at + SIZE] for at in range(len(raw) - SIZE + 1)}
            shares = []
            for panel_text in map(folded, texts):
                kept = {
                    panel_text[at : at + SIZE] for at in range(0, len(panel_text) - SIZE + 1, 4)
                }
                room = max(min(len(kept), (len(raw) + 1 - SIZE) // 4), len(kept) // 4)
                shares.append(min(1.0, len(kept & windows) / room))
            # Of the shingles kept a few percent lie on a place that is taken.
            assert one.share == pytest.approx(max(shares), abs=0.12)


class TestExclusion:
    def test_documents_of_the_panel_and_copies_of_it_go_on_the_skip_list(self):
        texts = [text for _, text, _ in corpus({"zh": 60})]
        documents = [
            Document(file="a.jsonl", number=at, id=f"n{at}", domain="zh", text=text)
            for at, text in enumerate(texts)
        ]
        panel = draw(
            documents, domains=("zh",), seed=0, encode=str.encode, window=200, tokenizer="bytes",
            per_domain=10,
        )  # fmt: skip
        drawn = {one.source for one in panel.sequences}
        copy = Document(
            file="b.jsonl", number=3, id="copy", text=prose(7) + panel.sequences[4].text
        )
        found = exclude(panel, [lost("c.jsonl", "torn"), *documents, copy])
        assert {f"{one.source}:{one.number}" for one in found} == drawn | {"b.jsonl:3"}
        skips = SkipList.of(found)
        assert skips.excludes("b.jsonl", "copy")
        assert "of the panel's text from a.jsonl" in found[-1].evidence

    def test_draws_that_hold_text_of_the_panel_are_ranges_for_the_feed(self):
        text = prose(1, words=30)

        class Texts:
            def text(self, draw):
                return text if draw in (5, 6, 900) else prose(draw + 10)

        assert draws_holding(panel_of(text), Texts(), 0, 1000) == ((5, 7), (900, 901))
