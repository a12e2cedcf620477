"""Shares of the domains that change on a plan."""

from collections import Counter

import pytest

from steadytrain.errors import SettingError
from steadytrain.lab.mixtures import PARTS, Change, Mixture, parse, phases
from steadytrain.lab.texts import Corpus
from tests.lab.test_texts import drawn, write_words


@pytest.fixture
def domains(tmp_path):
    return {
        name: write_words(tmp_path / f"{name}.txt", words=6000, seed=seed)
        for seed, name in enumerate(("zh", "en", "code"))
    }


def shares(mixture, draws):
    counts = Counter(mixture.block(draw).domain for draw in draws)
    return [round(counts[domain] / len(draws), 2) for domain in range(3)]


class TestPlan:
    def test_a_plan_names_shares_and_the_steps_after_which_they_hold(self):
        assert parse("0.2,0.4,0.4@0;1,1,2@600;1,0,0@900-1000") == (
            Change(shares=(0.2, 0.4, 0.4), after=0, done=0),
            Change(shares=(1.0, 1.0, 2.0), after=600, done=600),
            Change(shares=(1.0, 0.0, 0.0), after=900, done=1000),
        )

    @pytest.mark.parametrize("text", ["", "0.2,0.4", "a,b@0", "1,1@zero", "1,1@0;2,1@5-x"])
    def test_what_is_no_plan_is_refused(self, text):
        with pytest.raises(SettingError, match="is no plan of shares.*0.5,0.25,0.25@600"):
            parse(text)

    @pytest.mark.parametrize("text", ["1,1@5", "1,1@0-5", "1,1@0;2,1@9;1,1@4", "1,1@0;2,1@9-4"])
    def test_a_plan_that_leaves_steps_without_shares_is_refused(self, text):
        with pytest.raises(
            SettingError, match="does not begin at step 0, or its steps do not rise"
        ):
            parse(text)

    def test_steps_become_the_draws_that_they_begin_with(self):
        found = phases(parse("1,1@0;3,1@10"), lambda step: 32 * (step - 1))
        assert found == ((0, (0.5, 0.5)), (320, (0.75, 0.25)))

    def test_a_gradual_change_goes_in_equal_parts_from_the_old_shares_to_the_new(self):
        found = phases(parse("1,0@0;0,1@16-32"), lambda step: 10 * (step - 1))
        assert [first for first, _ in found] == [0, *range(160, 320, 160 // PARTS), 320]
        towards = [new for _, (_, new) in found]
        assert towards == sorted(towards)
        assert (towards[0], towards[1], towards[-1]) == (0.0, pytest.approx(0.5 / PARTS), 1.0)


class TestMixture:
    def test_one_phase_is_the_corpus_with_these_shares(self, domains):
        named = {"zh": 0.2, "en": 0.5, "code": 0.3}
        corpus = Corpus.load(domains, seed=3, context=32, shares=named)
        plain = Corpus.load(domains, seed=3, context=32)
        mixture = Mixture(plain, ((0, (0.2, 0.5, 0.3)),))
        draws = [0, 1, 2, 77, 2999, 3000, 123_456]
        assert drawn(mixture, draws) == drawn(corpus, draws)

    def test_the_shares_hold_from_their_draw_on(self, domains):
        plan = phases(parse("0.2,0.4,0.4@0;0.6,0.1,0.3@100"), lambda step: 10 * (step - 1))
        mixture = Mixture(Corpus.load(domains, seed=0, context=32), plan)
        assert shares(mixture, range(1000)) == [0.2, 0.4, 0.4]
        assert shares(mixture, range(1000, 2000)) == [0.6, 0.1, 0.3]

    def test_a_gradual_change_passes_through_what_lies_between(self, domains):
        plan = phases(parse("0.8,0.2,0@0;0,0.2,0.8@100-200"), lambda step: 10 * (step - 1))
        mixture = Mixture(Corpus.load(domains, seed=0, context=32), plan)
        middle = shares(mixture, range(1400, 1600))
        assert middle[0] == pytest.approx(0.4, abs=0.05)
        assert shares(mixture, range(2000, 3000)) == [0.0, 0.2, 0.8]

    def test_no_block_is_read_again_or_left_out_where_the_shares_change(self, domains):
        plan = phases(parse("0.2,0.4,0.4@0;0.6,0.1,0.3@7;0.1,0.8,0.1@13-21"), lambda s: 16 * s - 16)
        corpus = Corpus.load(domains, seed=1, context=32)
        seen = [[], [], []]
        for draw in range(16 * 30):
            block = Mixture(corpus, plan).block(draw)
            seen[block.domain].append(block.source)
        for domain, found in enumerate(seen):
            turns = [corpus.take(domain, turn).source for turn in range(len(found))]
            assert found == turns

    def test_a_draw_does_not_depend_on_the_draws_before_it(self, domains):
        plan = phases(parse("1,1,1@0;3,1,1@9-40"), lambda step: 8 * (step - 1))
        mixture = Mixture(Corpus.load(domains, seed=1, context=32), plan)
        forwards = drawn(mixture, range(400))
        assert drawn(mixture, reversed(range(400))) == forwards[::-1]

    def test_a_plan_for_other_domains_is_refused(self, domains):
        with pytest.raises(
            SettingError, match="2 shares do not divide the draws among zh, en, code"
        ):
            Mixture(Corpus.load(domains, seed=1, context=32), ((0, (0.5, 0.5)),))
