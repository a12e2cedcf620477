"""A panel is what its hash says, wherever it lies and however its domains are turned."""

from dataclasses import replace

import numpy as np
import pytest

from steadytrain.errors import PanelError
from steadytrain.panels import FixedPanel, PanelSegment, PanelSequence
from steadytrain.stats.unigram import unigram_entropy


def sequence(domain, *tokens, **fields):
    return PanelSequence(domain=domain, tokens=np.array(tokens), num_bytes=7, **fields)


@pytest.fixture
def panel():
    return FixedPanel(
        sequences=(
            sequence(1, 1, 2, 3, source="a:1", text="好\u2028\n", document="d1"),
            sequence(0, 9, 8, 7, 6, text="\ud800"),
            sequence(0, 5, 6),
        ),
        domains=("zh", "en"), seed=3, window=3, tokenizer="t:1", origin="run-1", notes=("few",),
    )  # fmt: skip


class TestDigest:
    def test_it_is_the_same_on_every_machine(self, panel):
        assert panel.digest == "007050b8e09676f1cc60348106a663f6"

    def test_the_order_of_the_domains_does_not_matter(self, panel):
        assert panel.arranged(("en", "zh")).digest == panel.digest

    @pytest.mark.parametrize(
        "change",
        [
            {"domains": ("zh", "fr")},
            {"tokenizer": "t:2"},
            {"sequences": (sequence(1, 1, 2, 3), sequence(0, 9, 8, 7, 6))},
            {"sequences": (sequence(1, 1, 2, 4), sequence(0, 9, 8, 7, 6), sequence(0, 5, 6))},
            {"sequences": (sequence(1, 1, 2, 3), sequence(0, 5, 6), sequence(0, 9, 8, 7, 6))},
        ],
    )
    def test_what_a_loss_depends_on_is_in_it(self, panel, change):
        assert replace(panel, **change).digest != panel.digest

    @pytest.mark.parametrize("change", [{"origin": "x"}, {"notes": ()}, {"seed": 4}])
    def test_what_no_loss_depends_on_is_not(self, panel, change):
        assert replace(panel, **change).digest == panel.digest

    def test_the_type_of_the_numbers_does_not_matter(self, panel):
        small = tuple(replace(one, tokens=one.tokens.astype(np.uint8)) for one in panel.sequences)
        assert replace(panel, sequences=small).digest == panel.digest


class TestFile:
    def test_a_panel_comes_back_as_it_was(self, panel, tmp_path):
        found = FixedPanel.read(panel.write(tmp_path / "deep" / "p.jsonl"))
        assert found.digest == panel.digest
        for name in ("domains", "seed", "window", "tokenizer", "origin", "notes", "lengths"):
            assert getattr(found, name) == getattr(panel, name)
        assert [one.text for one in found.sequences] == ["好\u2028\n", "?", ""]
        assert found.sequences[0].document == "d1"

    def test_packed_sequences_come_back_with_their_segments(self, tmp_path):
        parts = tuple(
            PanelSegment(begin=begin, domain=domain, source="s", num_bytes=3)
            for begin, domain in ((0, 1), (3, 0))
        )
        panel = FixedPanel(
            sequences=(sequence(1, 1, 2, 3, 4, 5, segments=parts),), domains=("a", "b")
        )
        found = FixedPanel.read(panel.write(tmp_path / "p.jsonl"))
        assert found.sequences[0].segments == parts
        assert found.lengths == ((2,), (2,))
        assert found.digest == panel.digest

    def test_a_file_that_was_changed_is_refused(self, panel, tmp_path):
        path = panel.write(tmp_path / "p.jsonl")
        path.write_text(path.read_text().replace("[9,8,7,6]", "[9,8,7,5]"))
        with pytest.raises(PanelError, match="was changed or cut off.*draw a panel anew"):
            FixedPanel.read(path)

    def test_a_file_that_was_cut_off_is_refused(self, panel, tmp_path):
        path = panel.write(tmp_path / "p.jsonl")
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[:-1]))
        with pytest.raises(PanelError, match="was changed or cut off"):
            FixedPanel.read(path)

    @pytest.mark.parametrize("content", ["", "{}", "[1]", "text", '{"digest":"x","domains":["a"]}'])
    def test_what_is_no_panel_is_refused(self, content, tmp_path):
        path = tmp_path / "p.jsonl"
        path.write_text(content)
        with pytest.raises(PanelError, match="holds no panel|has no sequences"):
            FixedPanel.read(path)

    def test_a_file_that_is_not_there_is_refused(self, tmp_path):
        with pytest.raises(PanelError, match="cannot be read.*FixedPanel.write"):
            FixedPanel.read(tmp_path / "p.jsonl")


class TestDomains:
    def test_lengths_are_the_predicted_tokens_of_each_domain(self, panel):
        assert panel.lengths == ((3, 1), (2,))

    def test_a_domains_frequencies_are_those_of_the_tokens_that_it_predicts(self, panel):
        mine = np.concatenate([one.tokens[1:] for one in panel.sequences if one.domain == 0])
        assert panel.unigram[0] == pytest.approx(unigram_entropy(mine))
        assert panel.arranged(("code", "en", "zh")).unigram == (None, *panel.unigram[::-1])

    def test_documents_of_a_packed_sequence_count_for_their_own_domains(self):
        parts = (
            PanelSegment(begin=0, domain=0, source="", num_bytes=3),
            PanelSegment(begin=4, domain=1, source="", num_bytes=2),
        )
        packed = PanelSequence(
            domain=0, tokens=np.array([9, 1, 1, 1, 2, 3]), num_bytes=5, segments=parts
        )
        assert FixedPanel(sequences=(packed,), domains=("a", "b")).unigram == (
            unigram_entropy(np.array([1, 1, 1])), unigram_entropy(np.array([2, 3])),
        )  # fmt: skip

    def test_a_domain_without_sequences_stays_empty(self, panel):
        assert panel.arranged(("code", "en", "zh")).lengths == ((), (2,), (3, 1))

    def test_a_domain_that_the_order_does_not_name_is_refused(self, panel):
        with pytest.raises(PanelError, match="has the domains zh.*a share of 0 only measures"):
            panel.arranged(("en", "code"))

    def test_sequences_that_predict_nothing_or_are_of_no_domain_are_refused(self):
        for one in (sequence(0, 1), sequence(1, 1, 2)):
            with pytest.raises(PanelError, match="predicts nothing or counts for nobody"):
                FixedPanel(sequences=(one,), domains=("a",))
        with pytest.raises(PanelError, match="has no sequences"):
            FixedPanel(sequences=(), domains=("a",))


class TestRebase:
    def test_what_was_followed_stays_and_new_domains_come_from_the_newer_one(self, panel):
        newer = FixedPanel(
            sequences=(sequence(0, 4, 4), sequence(1, 3, 3, 3)), domains=("code", "en")
        )
        found = panel.rebase(newer)
        assert found.domains == ("zh", "en", "code")
        assert found.lengths == ((3, 1), (2,), (1,))
        assert found.sequences[:3] == panel.sequences
        assert found.digest != panel.digest

    def test_a_newer_one_without_a_new_domain_or_with_other_tokens_is_refused(self, panel):
        with pytest.raises(PanelError, match="has no domain beside zh, en"):
            panel.rebase(panel)
        with pytest.raises(PanelError, match="made with the tokenizer t:1, this is t:2"):
            panel.rebase(replace(panel, tokenizer="t:2"))
