"""A look at the panel is the model's own loss, sequence by sequence, and leaves no trace."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from steadytrain import journal, show
from steadytrain.errors import CheckpointError, PanelError, SettingError
from steadytrain.events import PanelDrawn, PanelRecord, PanelWanted, RemedyDone, StepRecord
from steadytrain.judge.judge import Judge
from steadytrain.lab.model import Config, Transformer
from steadytrain.lab.texts import decode
from steadytrain.lab.train import Settings, assemble
from steadytrain.panels import FixedPanel, PanelSegment, PanelSequence
from steadytrain.panels.overlap import Overlap
from steadytrain.replaying import replay
from steadytrain.train import Feed, Panel, Ranks, Session
from tests import rig


def of(home, kind):
    return [event for event in journal.read(home) if isinstance(event, kind)]


def sequence(domain, tokens, **fields):
    return PanelSequence(domain=domain, tokens=np.array(tokens), num_bytes=len(tokens), **fields)


def ragged(seed=0, vocabulary=256):
    chance = np.random.default_rng(seed)
    return FixedPanel(
        sequences=tuple(
            sequence(at % 2, chance.integers(0, vocabulary, size))
            for at, size in enumerate((9, 2, 33, 17, 5, 21, 3))
        ),
        domains=("zh", "en"),
    )


def model(**changes):
    return Transformer(Config(width=16, layers=2, heads=2, context=64, **changes), seed=1)


def look(panel, of_model, *, ranks=None, **changes):
    return Panel(panel, **({"batch_size": 3} | changes)).evaluate(
        of_model, ranks=ranks or Ranks(), device=torch.device("cpu"), attempt=1, step=4,
        beat=lambda: None,
    )  # fmt: skip


def slow_loss(of_model, tokens):
    whole = torch.tensor(np.asarray(tokens, dtype=np.int64))[None]
    logits = of_model(whole[:, :-1])
    return functional.cross_entropy(logits[0], whole[0, 1:], reduction="sum").item()


class TestLook:
    def test_each_sequence_has_its_own_mean_loss_however_long_it_is(self):
        panel, net = ragged(), model()
        found = look(panel, net)
        for domain in (0, 1):
            mine = [one for one in panel.sequences if one.domain == domain]
            slow = [slow_loss(net, one.tokens) for one in mine]
            sizes = [len(one.tokens) - 1 for one in mine]
            means = [loss / size for loss, size in zip(slow, sizes, strict=True)]
            assert found.losses[domain] == pytest.approx(means, rel=1e-5)  # float32, padded
            assert found.nll[domain] == pytest.approx(sum(slow), rel=1e-5)
            assert found.tokens[domain] == sum(sizes)
            assert found.bytes[domain] == sum(one.num_bytes for one in mine)
        assert (found.step, found.version, found.why) == (4, 1, "schedule")

    def test_packed_sequences_count_document_by_document(self):
        parts = tuple(
            PanelSegment(begin=begin, domain=domain, source="s", num_bytes=size)
            for begin, domain, size in ((0, 1, 4), (4, 0, 7), (9, 1, 2))
        )
        tokens = list(range(40, 52))
        panel = FixedPanel(
            sequences=(sequence(1, tokens, segments=parts), sequence(0, [7, 8, 9])),
            domains=("zh", "en"),
        )
        net = model()
        found = look(panel, net)
        logp = torch.log_softmax(net(torch.tensor(tokens)[None, :-1]), -1)[0]
        each = [-logp[at, target].item() for at, target in enumerate(tokens[1:])]
        assert found.losses[1] == pytest.approx((sum(each[:3]) / 3, sum(each[8:]) / 3), rel=1e-5)
        assert found.losses[0][0] == pytest.approx(sum(each[3:8]) / 5, rel=1e-5)
        assert found.tokens == (5 + 2, 3 + 3)
        assert found.bytes == (7 + 3, 4 + 2)
        assert [len(one) for one in found.losses] == [len(one) for one in panel.lengths]

    def test_a_loss_that_is_not_finite_stays_so_and_spoils_no_other(self):
        net = model()
        with torch.no_grad():
            net.embed.weight[255] = math.nan
        panel = FixedPanel(
            sequences=(sequence(0, [1, 255, 3]), sequence(0, [1, 2, 3]), sequence(1, [4, 5, 6])),
            domains=("zh", "en"),
        )
        found = look(panel, net)
        assert math.isnan(found.losses[0][0])
        assert math.isnan(found.nll[0])
        assert math.isfinite(found.losses[0][1])
        assert math.isfinite(found.nll[1])

    def test_a_domain_without_sequences_is_empty_not_zero(self):
        found = look(ragged().arranged(("en", "code", "zh")), model())
        assert (found.losses[1], found.tokens[1]) == ((), 0)
        assert len(found.losses[2]) == 4

    def test_the_number_of_ranks_changes_no_number(self):
        panel, net = ragged(), model()

        @dataclass
        class Part:
            reader: int
            readers: int = 3
            counts: bool = True

            def gather(self, what):
                return [what]

        whole = look(panel, net)
        rows = [look(panel, net, ranks=Part(rank)) for rank in range(3)]
        for domain in (0, 1):
            found = sorted(loss for one in rows for loss in one.losses[domain])
            assert found == sorted(whole.losses[domain])

    def test_random_states_and_the_mode_of_each_module_stay_as_they_are(self):
        class Noisy(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = model()
                self.frozen = nn.Dropout(0.5).eval()
                self.dropout = nn.Dropout(0.5)

            def forward(self, tokens):
                torch.rand(3)
                return self.frozen(self.dropout(self.inner(tokens)))

        net = Noisy().train()
        net.frozen.eval()
        before = torch.random.get_rng_state()
        found = look(ragged(), net)
        assert torch.equal(torch.random.get_rng_state(), before)
        assert found.nll == look(ragged(), net.inner).nll  # without dropout
        assert (net.training, net.inner.training, net.frozen.training) == (True, True, False)

    def test_modes_come_back_when_a_look_fails(self):
        class Broken(nn.Linear):
            def forward(self, tokens):
                raise ZeroDivisionError

        net = Broken(1, 1)
        with pytest.raises(ZeroDivisionError):
            look(ragged(), net)
        assert net.training

    def test_the_users_own_losses_are_taken(self):
        def losses(of_model, batch):
            with torch.autocast("cpu", torch.bfloat16):
                logits = of_model(batch.tokens_BT)
            return functional.cross_entropy(
                logits.float().transpose(1, 2), batch.targets_BT, reduction="none"
            )

        plain, cast = look(ragged(), model()), look(ragged(), model(), losses=losses)
        assert cast.nll != plain.nll
        assert cast.nll == pytest.approx(plain.nll, rel=0.02)

    def test_a_model_that_returns_no_logits_is_refused_with_the_way_out(self):
        class Output(nn.Linear):
            def forward(self, tokens):
                return {"logits": tokens}

        with pytest.raises(SettingError, match="returns dict, not logits.*losses=f"):
            look(ragged(), Output(1, 1))


class TestSettings:
    @pytest.mark.parametrize("change", [{"batch_size": 0}, {"rebase": " "}])
    def test_nothing_and_no_reason_are_refused(self, change):
        with pytest.raises(SettingError, match="Write Panel.fixed, rebase="):
            Panel(ragged(), **change)

    def test_a_panel_of_another_tokenizer_is_refused(self, tmp_path):
        fixed = replace(rig.panel().fixed, tokenizer="mine:1")
        order = rig.Words()
        order.tokenizer = "other:2"
        with pytest.raises(PanelError, match="tokenizer mine:1, the data order with other:2"):
            Panel(fixed).fitted(order, model())
        order.tokenizer = "mine:1"
        assert Panel(fixed).fitted(order, model()).digest == fixed.digest

    def test_token_ids_that_the_model_does_not_have_are_refused(self):
        net = model()
        rows = net.embed.num_embeddings
        fixed = FixedPanel(sequences=(sequence(0, [1, rows]),), domains=("prose",))
        with pytest.raises(PanelError, match=f"token id {rows}, the model's largest embedding"):
            Panel(fixed).fitted(rig.Words(), net)

    def test_a_domain_that_the_order_does_not_name_is_refused(self, tmp_path):
        with pytest.raises(PanelError, match="has the domains en, zh, which the data order"):
            rig.session(tmp_path / "r", steps=5, panel=Panel(ragged()))


def train_until(home, last, *, steps=40, **changes):
    net, _, guarded = rig.session(home, steps=steps, **changes)
    with guarded as run:
        for batch in run:
            run.backward(net(batch.tokens_BT), batch)
            run.step()
            if run.step_number == last:
                break


def another(**changes):
    fixed = rig.panel().fixed
    return Panel(replace(fixed, sequences=fixed.sequences[:16]), batch_size=10, **changes)


class TestRun:
    def test_the_panel_is_on_record_with_its_file_before_the_first_look(self, tmp_path):
        rig.train(tmp_path / "r", steps=5)
        kinds = [type(one) for one in journal.read(tmp_path / "r")]
        assert kinds.index(PanelDrawn) < kinds.index(PanelRecord) < kinds.index(StepRecord)
        (drawn,) = of(tmp_path / "r", PanelDrawn)
        kept = FixedPanel.read(tmp_path / "r" / drawn.path)
        assert kept.digest == drawn.digest == rig.panel().digest
        assert kept.origin == "r"
        assert drawn.lengths == ((rig.CONTEXT,) * 10,) * 2
        assert (drawn.version, drawn.replaces, drawn.why, drawn.step) == (1, None, "", 0)

    def test_the_panel_of_another_run_keeps_its_origin(self, tmp_path):
        rig.train(tmp_path / "a", steps=2)
        (drawn,) = of(tmp_path / "a", PanelDrawn)
        shared = Panel(FixedPanel.read(tmp_path / "a" / drawn.path), batch_size=10)
        rig.train(tmp_path / "b", steps=2, panel=shared)
        (again,) = of(tmp_path / "b", PanelDrawn)
        assert (again.origin, again.digest) == ("a", drawn.digest)

    def test_domains_without_sequences_are_told(self, tmp_path):
        fixed = rig.panel().fixed
        some = tuple(one for one in fixed.sequences if one.domain == 0)
        rig.train(tmp_path / "r", steps=2, panel=Panel(replace(fixed, sequences=some)))
        (drawn,) = of(tmp_path / "r", PanelDrawn)
        assert drawn.notes[0] == (
            "The panel has no sequence of list, so its perplexity is not followed."
        )
        assert drawn.lengths[1] == ()

    def test_without_a_schedule_only_the_first_and_the_last_look_are_made(self, tmp_path):
        rig.train(tmp_path / "r", steps=25, panel_every=None)
        assert [one.step for one in of(tmp_path / "r", PanelRecord)] == [0, 25]

    @pytest.mark.parametrize("restarts", [False, True])
    def test_another_type_than_that_of_training_is_told_once(self, tmp_path, restarts):
        told = []
        if restarts:
            train_until(tmp_path / "r", 10, steps=20)
        net, _, guarded = rig.session(tmp_path / "r", steps=20, panel_every=15, say=told.append)
        with guarded as run:
            for batch in run:
                with torch.autocast("cpu", torch.bfloat16):
                    logits = net(batch.tokens_BT)
                run.backward(logits.bfloat16(), batch)
                run.step()
        (words,) = [one for one in told if "looked at in" in one]
        assert "torch.float32, training computes torch.bfloat16" in words
        assert "losses=f" in words

    def test_looks_change_nothing_of_the_run(self, tmp_path):
        often = rig.train(tmp_path / "often", steps=20, panel_every=1)
        never = rig.train(tmp_path / "never", steps=20, panel=None)
        assert often == never

    def test_a_restart_repeats_no_look(self, tmp_path):
        train_until(tmp_path / "r", 27, panel_every=4)
        rig.train(tmp_path / "r", steps=40, panel_every=4)
        steps = [one.step for one in of(tmp_path / "r", PanelRecord)]
        assert steps == list(range(0, 41, 4))
        assert len(of(tmp_path / "r", PanelDrawn)) == 1
        rig.train(tmp_path / "whole", steps=40, panel_every=4)
        assert [one.nll for one in of(tmp_path / "r", PanelRecord)] == [
            one.nll for one in of(tmp_path / "whole", PanelRecord)
        ]

    def test_a_life_that_begins_after_the_last_step_makes_the_last_look(self, tmp_path):
        train_until(tmp_path / "r", 20, steps=40, panel_every=None)
        rig.train(tmp_path / "r", steps=20, panel_every=None)
        found = of(tmp_path / "r", PanelRecord)
        assert [(one.step, one.why) for one in found] == [(0, "before the run"), (20, "last")]

    def test_another_panel_is_refused_without_a_reason(self, tmp_path):
        rig.train(tmp_path / "r", steps=5)
        with pytest.raises(CheckpointError, match="whose panel is.*Choose another home.*rebase="):
            rig.train(tmp_path / "r", steps=10, panel=another())

    def test_a_reason_makes_a_new_version_and_a_look_at_once(self, tmp_path):
        train_until(tmp_path / "r", 20)
        for _ in range(2):  # the script stays as it is when it is started again
            rig.train(tmp_path / "r", steps=40, panel=another(rebase="fewer will do"))
        drawn = of(tmp_path / "r", PanelDrawn)
        assert [(one.version, one.step, one.why) for one in drawn] == [
            (1, 0, ""), (2, 20, "fewer will do")
        ]  # fmt: skip
        assert drawn[1].replaces == drawn[0].digest
        assert (tmp_path / "r" / drawn[0].path).exists()
        looks = [(one.step, one.version, one.why) for one in of(tmp_path / "r", PanelRecord)]
        assert looks == [
            (0, 1, "before the run"), (20, 1, "schedule"), (20, 2, "new panel"), (40, 2, "last")
        ]  # fmt: skip
        with pytest.raises(CheckpointError, match="whose panel is"):
            rig.train(tmp_path / "r", steps=60)
        with pytest.raises(CheckpointError, match="this run's is None"):
            rig.train(tmp_path / "r", steps=60, panel=None)

    def test_a_run_without_a_panel_gets_one_with_a_reason(self, tmp_path):
        train_until(tmp_path / "r", 20, panel=None)
        rig.train(tmp_path / "r", steps=40, panel=another(rebase="forgotten at the start"))
        (drawn,) = of(tmp_path / "r", PanelDrawn)
        assert (drawn.version, drawn.step, drawn.replaces) == (1, 20, None)
        assert [one.step for one in of(tmp_path / "r", PanelRecord)] == [20, 40]

    def test_a_rollback_forgets_the_looks_that_it_gives_up(self, tmp_path):
        garbled = range(40 * rig.BATCH, 43 * rig.BATCH)
        rig.train(tmp_path / "r", steps=80, garbled=garbled, panel_every=1)
        (back,) = [one.step for one in of(tmp_path / "r", RemedyDone) if one.restored_step]
        looks = [(one.attempt, one.step) for one in of(tmp_path / "r", PanelRecord)]
        assert len(set(looks)) == len(looks)
        assert [step for attempt, step in looks if attempt == 2] == list(range(back + 1, 81))


def planning(asked):
    """A judge that asks for looks: step at which it asks -> the step before which to look."""
    judged = Judge._step

    def step(self, state, record):
        is_news = record.step > state.step  # a repeated step is not judged again
        state, judgments = judged(self, state, record)
        if is_news and record.step in asked:
            due = asked[record.step]
            judgments += (PanelWanted(step=record.step, due=due, why="the mixture changed"),)
        return state, judgments

    return step


class TestPlannedLooks:
    def test_a_look_is_made_when_the_judge_asks(self, tmp_path, monkeypatch):
        monkeypatch.setattr(Judge, "_step", planning({10: 15}))
        rig.train(tmp_path / "r", steps=30, panel_every=None)
        looks = [(one.step, one.why) for one in of(tmp_path / "r", PanelRecord)]
        assert looks == [(0, "before the run"), (14, "the mixture changed"), (30, "last")]
        assert [one.differences for one in replay(tmp_path / "r")] == [()]

    def test_one_that_is_scheduled_there_anyway_is_made_once(self, tmp_path, monkeypatch):
        monkeypatch.setattr(Judge, "_step", planning({10: 21}))
        rig.train(tmp_path / "r", steps=30)
        assert [one.step for one in of(tmp_path / "r", PanelRecord)] == [0, 20, 30]

    @pytest.mark.parametrize("last", [12, 16])
    def test_a_restart_makes_it_if_it_was_not_made(self, tmp_path, monkeypatch, last):
        monkeypatch.setattr(Judge, "_step", planning({11: 16}))
        train_until(tmp_path / "r", last, steps=30, panel_every=None)
        rig.train(tmp_path / "r", steps=30, panel_every=None)
        assert [one.step for one in of(tmp_path / "r", PanelRecord)] == [0, 15, 30]


class TestLeak:
    @pytest.fixture(scope="class")
    @classmethod
    def home(cls, tmp_path_factory):
        """A run of the lab in which draws 40 to 47 are blocks of the panel."""
        home = tmp_path_factory.mktemp("leak") / "r"
        settings = Settings(
            home=home, steps=8, batch_size=16, panel_sequences=20,
            config=Config(width=16, layers=2, heads=2),
        )  # fmt: skip
        parts = assemble(settings, Ranks())
        corpus = parts.corpus
        overlap = Overlap(corpus.panel)
        overlap.learn_common(map(corpus.text, range(2048)))
        can_see = [at for at in range(20, 40) if at not in overlap.blind]

        class Leaky:
            domains = corpus.domains

            def block(self, draw):
                if 40 <= draw < 48:
                    return corpus.panel.sequences[can_see[draw - 40]]
                return corpus.block(draw)

            def text(self, draw):
                return decode(self.block(draw).tokens)

        guarded = Session(
            parts.model, parts.optimizer, Feed(Leaky(), batch_size=16), home=home, steps=8,
            panel=parts.panel, fence=False,
        )  # fmt: skip
        with guarded as run:
            for batch in run:
                run.backward(parts.model(batch.tokens_BT), batch)
                run.step()
        return home, Leaky()

    def test_the_record_counts_it_by_domain(self, home):
        records = of(home[0], StepRecord)
        assert [sum(one.leaked) for one in records] == [0, 0, 8, 0, 0, 0, 0, 0]
        assert records[2].leaked == (0, 8, 0)
        assert sum(sum(one.corrupt) for one in records) == 0

    def test_the_provenance_names_the_sequences_and_show_their_place_in_the_panel(
        self, home, monkeypatch
    ):
        monkeypatch.setattr(show, "_open_order", lambda name, path: home[1])
        found = show.show(home[0], 3, order="given")
        leaked = [one for one in found if one.defect == "panel"]
        assert sorted(one.draw for one in leaked) == list(range(40, 48))
        assert {one.verdict for one in leaked} == {"leaked"}
        assert all("of the panel's text from python/lib" in one.evidence for one in leaked)
        assert not any(one.defect for one in show.show(home[0], 4, order="given"))

    def test_what_stands_in_the_training_data_from_the_start_is_told(self, tmp_path):
        settings = Settings(
            home=tmp_path / "r", steps=1, batch_size=16, panel_sequences=20,
            config=Config(width=16, layers=2, heads=2),
        )  # fmt: skip
        parts = assemble(settings, Ranks())
        corpus = parts.corpus
        seen = next(at for at in range(20, 40) if at not in Overlap(corpus.panel).blind)

        class Known:
            domains = corpus.domains

            def block(self, draw):
                return corpus.block(draw)

            def text(self, draw):
                held = corpus.panel.sequences[seen].text if draw < 3 else ""
                return corpus.text(draw) + held

        guarded = Session(
            parts.model, parts.optimizer, Feed(Known(), batch_size=16), home=tmp_path / "r",
            steps=1, panel=parts.panel, fence=False,
        )  # fmt: skip
        with guarded:
            pass
        (drawn,) = of(tmp_path / "r", PanelDrawn)
        assert "1 of 60 sequences stand in several of the first training texts" in drawn.notes[-1]

    def test_the_panel_itself_is_not_corrupt(self, home, capsys):
        assert show.run(home[0], 3, order=None, top=3, as_json=False) == 1
        shown = capsys.readouterr().out
        assert "16 sequences, 0 corrupt, 8 with text of the panel" in shown

    def test_a_run_that_reads_no_text_says_that_nothing_is_looked_for(self, tmp_path):
        rig.train(tmp_path / "r", steps=2, read_texts=False)
        (drawn,) = of(tmp_path / "r", PanelDrawn)
        assert "Training text is not read" in drawn.notes[0]
        assert all(one.leaked == () for one in of(tmp_path / "r", StepRecord))

    def test_sequences_that_cannot_be_found_are_told(self, tmp_path):
        rig.train(tmp_path / "r", steps=2)
        (drawn,) = of(tmp_path / "r", PanelDrawn)
        assert drawn.notes == (
            "20 of 20 sequences have no text, or too little of their own, to be found in training "
            "text.",
        )
        assert all(one.leaked == (0, 0) for one in of(tmp_path / "r", StepRecord))
