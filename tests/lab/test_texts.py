import json
from collections import Counter
from random import Random

import numpy as np
import pytest

from steadytrain.errors import FeedError, SettingError
from steadytrain.lab.texts import Corpus, decode


def write_words(path, *, words, seed):
    """A text whose blocks all differ."""
    random = Random(seed)
    path.write_text(" ".join(str(random.randrange(10**9)) for _ in range(words)))
    return str(path)


def write_documents(path, *, documents, seed):
    """Documents of some blocks each, all different."""
    random = Random(seed)
    texts = [" ".join(str(random.randrange(10**9)) for _ in range(70)) for _ in range(documents)]
    lines = (json.dumps({"id": f"d{number}", "text": text}) for number, text in enumerate(texts))
    path.write_text("\n".join(lines))
    return str(path)


@pytest.fixture
def domains(tmp_path):
    return {
        "zh/knowledge": write_words(tmp_path / "zh.txt", words=3000, seed=1),
        "en": write_words(tmp_path / "en.txt", words=6000, seed=2),
        "code": write_words(tmp_path / "code.txt", words=1500, seed=3),
    }


def drawn(corpus, draws):
    blocks = [corpus.block(draw) for draw in draws]
    return [(block.domain, block.source, block.tokens.tobytes()) for block in blocks]


class TestBlocks:
    def test_a_block_is_the_bytes_that_its_source_names(self, domains):
        corpus = Corpus.load(domains, seed=0, context=32)
        for block in (*corpus.panel.sequences, *map(corpus.block, range(300))):
            path, offset = block.source.rsplit(":", 1)
            assert path == domains[corpus.domains[block.domain]]
            with open(path, "rb") as file:
                assert file.read()[int(offset) :][:33] == block.tokens.tobytes()

    def test_tokens_are_context_plus_one_bytes_and_read_only(self, domains):
        tokens = Corpus.load(domains, seed=0).block(0).tokens
        assert (tokens.dtype, tokens.shape) == (np.uint8, (129,))
        with pytest.raises(ValueError, match="read-only"):
            tokens[0] = 0

    def test_short_documents_are_joined_by_newlines_and_keep_their_sources(self, tmp_path):
        texts = ["a" * 5, "b" * 3, "c" * 30, "d" * 10, "e" * 12]
        path = tmp_path / "x.jsonl"
        path.write_text("\n".join(json.dumps({"id": t[0], "text": t}) for t in texts))
        corpus = Corpus.load({"x": str(path)}, seed=0, context=7)
        seen = {
            (b.source, b.tokens.tobytes()) for b in map(corpus.block, range(corpus.num_blocks["x"]))
        }
        seen |= {(b.source, b.tokens.tobytes()) for b in corpus.panel.sequences}
        assert seen >= {
            (f"{path}#a:0", b"aaaaa\nbb"),
            (f"{path}#b:2", b"b\ncccccc"),
            (f"{path}#d:0", b"d" * 8),
            (f"{path}#e:0", b"e" * 8),
        }

    def test_an_epoch_draws_every_block_once_and_the_next_in_another_order(self, tmp_path):
        where = write_words(tmp_path / "a.txt", words=2000, seed=1)
        corpus = Corpus.load({"x": where}, seed=0, context=32)
        n = corpus.num_blocks["x"]
        first, second = drawn(corpus, range(n)), drawn(corpus, range(n, 2 * n))
        assert len(set(first)) == n
        assert set(first) == set(second)
        assert first != second


class TestDraws:
    def test_a_draw_does_not_depend_on_the_draws_before_it(self, domains):
        draws = [100_000, 3, 99_999, 0, 12_345_678_901, 3, 77]
        one, two = Corpus.load(domains, seed=5), Corpus.load(domains, seed=5)
        assert drawn(one, draws) == drawn(two, draws[::-1])[::-1]

    def test_another_seed_draws_another_order_and_another_panel(self, domains):
        one, two = Corpus.load(domains, seed=5), Corpus.load(domains, seed=6)
        assert drawn(one, range(64)) != drawn(two, range(64))
        assert one.panel.digest != two.panel.digest

    def test_the_order_is_the_same_on_every_machine(self, tmp_path):
        path = tmp_path / "x.txt"
        path.write_text("".join(f"{i:04}" for i in range(400)))
        corpus = Corpus.load({"x": str(path)}, seed=1, context=3)
        assert [corpus.text(draw) for draw in range(4)] == ["0349", "0311", "0151", "0249"]
        assert corpus.panel.digest == "0b16f42add4d6a04d6f4cbbb95def56a"

    def test_a_batch_of_32_holds_nearly_as_much_of_each_domain(self, domains):
        corpus = Corpus.load(domains, seed=0)
        for begin in range(0, 6400, 32):
            counts = Counter(corpus.block(draw).domain for draw in range(begin, begin + 32))
            assert set(counts) == {0, 1, 2}
            assert max(counts.values()) - min(counts.values()) <= 3

    def test_shares_divide_the_draws(self, domains):
        shares = {"zh/knowledge": 5, "en": 3, "code": 2}
        corpus = Corpus.load(domains, seed=0, shares=shares)
        counts = Counter(corpus.block(draw).domain for draw in range(3000))
        assert counts == {0: 1500, 1: 900, 2: 600}
        for begin in range(0, 3000, 32):
            batch = [corpus.block(draw).domain for draw in range(begin, begin + 32)]
            assert abs(batch.count(0) - 16) <= 3

    def test_turns_do_not_follow_one_another_in_a_fixed_round(self, domains):
        corpus = Corpus.load(domains, seed=0)
        turns = [corpus.block(draw).domain for draw in range(300)]
        assert len({tuple(turns[i : i + 3]) for i in range(0, 300, 3)}) == 6

    def test_a_share_of_zero_is_measured_and_never_drawn(self, domains):
        corpus = Corpus.load(domains, seed=0, shares={"zh/knowledge": 1, "en": 1, "code": 0})
        assert {corpus.block(draw).domain for draw in range(500)} == {0, 1}
        assert {block.domain for block in corpus.panel.sequences} == {0, 1, 2}

    @pytest.mark.parametrize(
        "share", [{"zh/knowledge": 1, "en": 1}, {"zh/knowledge": 1, "en": 1, "code": -1},
                  {"zh/knowledge": 1, "en": 1, "code": float("nan")}, {"zh/knowledge": 0, "en": 0, "code": 0}],
    )  # fmt: skip
    def test_shares_that_divide_nothing_are_refused(self, domains, share):
        with pytest.raises(SettingError, match="do not divide the draws"):
            Corpus.load(domains, seed=0, shares=share)

    def test_a_share_too_small_to_be_drawn_is_refused(self, domains):
        shares = {"zh/knowledge": 1, "en": 1, "code": 1e-6}
        with pytest.raises(SettingError, match="under one draw in 3000"):
            Corpus.load(domains, seed=0, shares=shares)

    def test_a_negative_draw_is_refused(self, domains):
        with pytest.raises(FeedError, match="draw=-1 is before the first"):
            Corpus.load(domains, seed=0).block(-1)


class TestPanel:
    def test_no_block_of_the_panel_is_trained_on(self, domains):
        corpus = Corpus.load(domains, seed=0, context=32, panel_sequences=50)
        panel = {block.tokens.tobytes() for block in corpus.panel.sequences}
        assert len(corpus.panel.sequences) == len(panel) == 150
        assert not panel & {tokens for _, _, tokens in drawn(corpus, range(10_000))}

    def test_a_twin_of_a_panel_block_is_not_trained_on_in_another_domain(self, domains):
        corpus = Corpus.load({"en": domains["en"], "code": domains["en"]}, seed=0, context=32)
        panel = {block.tokens.tobytes() for block in corpus.panel.sequences}
        assert not panel & {tokens for _, _, tokens in drawn(corpus, range(10_000))}

    def test_a_small_domain_gives_a_quarter_and_says_so(self, domains):
        corpus = Corpus.load(domains, seed=0)
        sizes = Counter(block.domain for block in corpus.panel.sequences)
        assert sizes[1] <= 200
        assert sizes[2] == (corpus.num_blocks["code"] + sizes[2]) // 4
        assert f"The panel of code has {sizes[2]} sequences, not 200" in " ".join(corpus.notes)

    def test_a_domain_too_small_for_a_panel_and_training_is_named(self, tmp_path):
        where = write_words(tmp_path / "a.txt", words=30, seed=1)
        with pytest.raises(FeedError, match="domain 'x' has 2 different blocks of 129 bytes"):
            Corpus.load({"x": where}, seed=0)

    def test_one_line_repeated_is_too_small_however_long(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_text("x" * 100_000)
        with pytest.raises(FeedError, match="1 different blocks"):
            Corpus.load({"x": str(path)}, seed=0)

    def test_the_hash_does_not_depend_on_the_order_of_domains_but_on_their_names(self, domains):
        turned = dict(reversed(domains.items()))
        renamed = {name.replace("en", "fr"): where for name, where in domains.items()}
        hashes = [Corpus.load(d, seed=0).panel.digest for d in (domains, turned, renamed)]
        assert hashes[0] == hashes[1] != hashes[2]

    @pytest.mark.parametrize("setting", [{"context": 0}, {"panel_sequences": 0}, {"domains": {}}])
    def test_sizes_below_one_are_refused(self, setting):
        with pytest.raises(SettingError, match="below 1"):
            Corpus.load(**setting, seed=0)

    def test_documents_give_one_block_each_where_they_suffice(self, tmp_path):
        path = tmp_path / "x.jsonl"
        rows = [
            {"id": f"d{at}", "text": "".join(f"{at:02}-{k:03}" for k in range(30))}
            for at in range(40)
        ]
        rows.append({"id": "long", "text": "".join(f"{at:05}" for at in range(2000))})
        path.write_text("\n".join(map(json.dumps, rows)))
        few = Corpus.load({"x": str(path)}, seed=0, context=31, panel_sequences=41)
        assert len({one.document for one in few.panel.sequences}) == 41
        assert few.notes == ()
        many = Corpus.load({"x": str(path)}, seed=0, context=31, panel_sequences=80)
        assert len({one.document for one in many.panel.sequences}) == 41
        assert "The 80 sequences of x come from 41 documents" in " ".join(many.notes)


class TestDecode:
    @pytest.mark.parametrize("begin", range(4))
    @pytest.mark.parametrize("end", range(20, 24))
    def test_a_character_cut_at_an_edge_is_dropped(self, begin, end):
        text = decode(np.frombuffer("稳定训练👍训练".encode()[begin:end], np.uint8))
        assert "\ufffd" not in text
        assert text in "稳定训练👍训练"

    def test_a_fault_inside_becomes_a_replacement_character(self):
        assert decode(b"ab\xff\xfecd") == "ab\ufffd\ufffdcd"

    def test_whole_characters_at_the_edges_stay(self):
        assert decode("人a人".encode()) == "人a人"
        assert decode("👍".encode()) == "👍"

    def test_no_tokens_are_no_text(self):
        assert decode([]) == ""

    def test_the_text_of_a_draw_is_its_block_decoded(self, domains):
        corpus = Corpus.load(domains, seed=0)
        assert corpus.text(9) == corpus.block(9).tokens.tobytes().decode()
