"""A draw depends on the seed and the texts alone, and says what it could not do."""

import random

import pytest

from steadytrain.corpora.documents import Document, lost
from steadytrain.errors import PanelError, SettingError
from steadytrain.panels import draw, named


def prose(seed, words=120):
    chance = random.Random(seed)
    return " ".join(f"{chance.randrange(10**8):x}" for _ in range(words))


def corpus(sizes):
    return [
        (name, prose((name, at).__repr__()), f"{name}.txt:{at}")
        for name, size in sizes.items()
        for at in range(size)
    ]


def encode(text):
    return text.encode()


def drawn(documents, domains=("zh", "en"), **changes):
    settings = {"seed": 1, "encode": encode, "window": 64, "tokenizer": "bytes", "per_domain": 20}
    return draw(documents, domains=domains, **(settings | changes))


def counts(panel):
    return [len(one) for one in panel.lengths]


class TestDraw:
    def test_the_same_texts_in_another_order_give_the_same_panel(self):
        documents = corpus({"zh": 90, "en": 60})
        turned = random.Random(0).sample(documents, len(documents))
        assert drawn(documents).digest == drawn(turned).digest
        assert [one.source for one in drawn(documents).sequences] == [
            one.source for one in drawn(turned).sequences
        ]

    def test_another_seed_gives_other_documents(self):
        documents = corpus({"zh": 90, "en": 60})
        one, other = drawn(documents), drawn(documents, seed=2)
        assert {a.source for a in one.sequences} != {b.source for b in other.sequences}

    def test_it_is_the_same_on_every_machine(self):
        documents = [("zh", f"{at:04} " * 40, f"{at}") for at in range(50)]
        panel = drawn(documents, ("zh",), per_domain=3)
        assert [one.source for one in panel.sequences] == ["49", "4", "31"]
        assert panel.digest == "cdef5f86fcd84f4bf9fad97929d54b17"

    def test_a_window_stands_in_its_document_and_its_tokens_are_the_text(self):
        texts = {source: text for _, text, source in corpus({"zh": 60, "en": 60})}
        panel = drawn(corpus({"zh": 60, "en": 60}))
        for one in panel.sequences:
            assert one.text in texts[one.source]
            assert bytes(one.tokens.tolist()).decode() == one.text
            assert one.num_bytes == len(one.text) - 1  # the first byte is not predicted
            assert len(one.tokens) == 65

    def test_each_document_gives_one_window_wherever_in_it(self):
        panel = drawn(corpus({"zh": 60, "en": 60}))
        assert len({one.document for one in panel.sequences}) == 40
        texts = {source: text for _, text, source in corpus({"zh": 60, "en": 60})}
        starts = [texts[one.source].index(one.text) for one in panel.sequences]
        assert min(starts) == 0
        assert max(starts) > 500

    def test_nothing_is_said_where_all_could_be_done(self):
        assert drawn(corpus({"zh": 40, "en": 40}), per_domain=30).notes == ()

    def test_equal_and_nearly_equal_texts_are_drawn_once(self):
        one = prose(1)
        documents = [("zh", one + " " * at, str(at)) for at in range(50)] + corpus({"zh": 5})
        panel = drawn(documents, ("zh",), window=1000)
        assert sum(prose(1)[:40] in one.text for one in panel.sequences) == 1

    def test_a_finer_domain_counts_for_the_one_above(self):
        documents = [("zh/news", text, source) for _, text, source in corpus({"zh": 40})]
        assert counts(drawn(documents, ("zh",))) == [20]
        both = drawn([*documents, *corpus({"zh": 9})], ("zh", "zh/news"), per_domain=7)
        assert counts(both) == [7, 7]

    def test_documents_of_a_reader_are_taken_and_lost_ones_are_told(self):
        documents = [
            Document(file="a.jsonl", number=at, domain="zh", text=text)
            for at, (_, text, _) in enumerate(corpus({"zh": 40}))
        ]
        panel = drawn([lost("b.jsonl", "is torn"), *documents], ("zh",))
        assert panel.sequences[0].source.startswith("a.jsonl:")
        assert panel.notes[-1] == "1 documents or parts of files could not be read."
        with pytest.raises(PanelError, match="holds token ids and no text"):
            drawn([Document(file="a.bin", domain="zh", tokens=b"1")], ("zh",))


class TestTokens:
    def test_a_token_at_the_beginning_lets_all_of_the_text_be_predicted(self):
        for one in drawn(corpus({"zh": 40}), ("zh",), begin=256).sequences:
            assert one.tokens[0] == 256
            assert one.num_bytes == len(one.text) == 64

    def test_bytes_are_those_of_the_text_whatever_a_token_holds(self):
        def words(text):
            return [len(word) for word in text.split(" ")]

        panel = drawn(corpus({"zh": 40}), ("zh",), encode=words, window=10)
        for one in panel.sequences:
            first = one.text.split(" ")[0]
            assert len(one.tokens) == 11
            assert one.num_bytes == len(one.text) - len(first)

    def test_chinese_bytes_are_counted_not_characters(self):
        documents = [("zh", f"{at}稳定训练的语言模型" * 9, str(at)) for at in range(40)]
        for one in drawn(documents, ("zh",), begin=0).sequences:
            assert one.num_bytes == len(one.text.encode()) == len(one.tokens) - 1

    def test_the_name_of_a_tokenizer_tells_its_vocabulary(self):
        assert named("t", {"a": 0, "b": 1}) == named("t", {"b": 1, "a": 0}) != named("t", {"a": 1})


class TestSizes:
    def test_a_total_is_divided_by_shares_with_a_floor(self):
        documents = corpus({"zh": 150, "en": 60, "code": 60})
        panel = drawn(
            documents, ("zh", "en", "code"), per_domain=None, total=120, floor=20,
            shares={"zh": 0.9, "en": 0.09, "code": 0.01},
        )  # fmt: skip
        assert counts(panel) == [80, 20, 20]

    def test_without_shares_the_bytes_of_the_texts_divide_it(self):
        panel = drawn(corpus({"zh": 150, "en": 50}), per_domain=None, total=40, floor=5)
        assert counts(panel) == [30, 10]

    def test_too_few_documents_are_told_and_long_ones_give_more(self):
        panel = drawn(corpus({"zh": 10, "en": 60}))
        assert counts(panel) == [20, 20]
        assert len({one.document for one in panel.sequences if one.domain == 0}) == 10
        assert "20 sequences of zh come from 10 documents" in " ".join(panel.notes)
        texts = [one.text for one in panel.sequences]
        assert len(set(texts)) == 40

    def test_a_domain_that_is_too_short_for_its_number_says_how_many_it_has(self):
        panel = drawn([("zh", prose(at, words=8), str(at)) for at in range(12)], ("zh",))
        assert counts(panel) == [12]
        assert "The panel of zh has 12 sequences, not 20" in panel.notes[0]
        assert "12 sequences of zh are too few for an interval: 30 are the least." in panel.notes

    def test_a_domain_without_text_is_refused(self):
        with pytest.raises(PanelError, match="domain 'en' has no text of 16 tokens or more .0"):
            drawn(corpus({"zh": 30}))

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"domains": ()}, "leave nothing to draw"),
            ({"domains": ("zh", "zh")}, "Write each domain once"),
            ({"window": 1}, "window=1"),
            ({"per_domain": 0}, "Write per_domain=200"),
            ({"total": 100}, "both say how many"),
            ({"per_domain": None, "total": 59}, "the floor of 30. Write total=60 or more"),
            ({"per_domain": None, "total": 90, "shares": {"zh": 1}}, "do not divide a panel"),
        ],
    )
    def test_sizes_that_make_no_sense_are_refused(self, change, words):
        with pytest.raises(SettingError, match=words):
            drawn(corpus({"zh": 3, "en": 3}), **change)
