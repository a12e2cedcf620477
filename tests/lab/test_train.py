"""The lab's training script: options that real runs have."""

import argparse
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from steadytrain import journal
from steadytrain.errors import SettingError
from steadytrain.events import PanelRecord, RunBegan, RunEnded, StepRecord
from steadytrain.lab import faults
from steadytrain.lab.mixtures import parse as parse_mixture
from steadytrain.lab.model import Config
from steadytrain.lab.options import add_arguments, parse_branch, parse_ramp, parse_rates
from steadytrain.lab.train import Settings, assemble, load_corpus, order_of, settings_of, train
from steadytrain.recipes import pretrain
from steadytrain.train import Ranks
from steadytrain.train.measuring import measure
from tests.lab.test_texts import write_words


@pytest.fixture
def small(tmp_path):
    return Settings(
        home=tmp_path / "run",
        steps=12,
        domains={
            name: write_words(tmp_path / f"{name}.txt", words=4000, seed=seed)
            for seed, name in enumerate(("zh", "en", "code"))
        },
        batch_size=4,
        config=Config(width=16, layers=2, heads=2, context=32),
        panel_sequences=8,
        fence=False,
    )


def given(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return settings_of(parser.parse_args(words), "home")


class TestOptions:
    def test_without_options_the_run_is_the_usual_one(self):
        assert given() == Settings(home="home", judge=pretrain())

    def test_every_option_reaches_the_run(self):
        found = given(
            "--steps", "9", "--seed", "3", "--peak", "0.1", "--schedule", "cosine", "--z-loss",
            "1e-4", "--ramp", "5:2,8:4", "--mixture", "1,1,1@0;2,1,1@4", "--qk-norm", "--softcap",
            "30", "--embed-shrink", "0.5", "--width", "32", "--layers", "2", "--heads", "4", "--device", "cuda", "--threads",
            "2", "--batch-size", "8", "--mode", "ask", "--trial", "3", "--rates", "0:0,5:1e-3",
            "--branch-from", "runs/a@4",
        )  # fmt: skip
        assert found == Settings(
            home="home", steps=9, seed=3, peak=0.1, schedule="cosine", z_loss=1e-4,
            ramp=((0, 1), (5, 2), (8, 4)), mixture=parse_mixture("1,1,1@0;2,1,1@4"), device="cuda",
            threads=2, batch_size=8, judge=pretrain(mode="ask", trials=3),
            rates=((0, 0.0), (5, 1e-3)), branch_from=(Path("runs/a"), 4),
            config=Config(width=32, layers=2, heads=4, qk_norm=True, softcap=30.0, embed_shrink=0.5),
        )  # fmt: skip

    def test_a_ramp_may_begin_with_more_than_one(self):
        assert parse_ramp("0:2,700:4") == ((0, 2), (700, 4))

    @pytest.mark.parametrize("text", ["", "5", "5:", ":2", "5:2;8:4", "-5:2"])
    def test_what_is_no_ramp_is_refused(self, text):
        with pytest.raises(SettingError, match="is no batch ramp. Write STEP:MICRO-BATCHES"):
            parse_ramp(text)

    @pytest.mark.parametrize("text", ["", "5", "5:", ":2", "5:2;8:4", "5.5:2", "0:0:0"])
    def test_what_names_no_rates_is_refused(self, text):
        with pytest.raises(SettingError, match="names no learning rates.*Write UPDATE:RATE pairs"):
            parse_rates(text)

    @pytest.mark.parametrize("text", ["", "runs/a", "@5", "runs/a@", "runs/a@x"])
    def test_a_branch_without_a_home_or_a_step_is_refused(self, text):
        with pytest.raises(SettingError, match="names no step of a run. Write HOME@STEP"):
            parse_branch(text)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_a_gpu_that_is_not_there_is_refused(self, small):
        with pytest.raises(SettingError, match="needs a GPU.*Write --device cpu"):
            assemble(replace(small, device="cuda"), Ranks())


class TestSchedules:
    def test_wsd_holds_its_peak_and_cosine_falls_from_the_warm_up_on(self, small):
        wsd, cosine = (
            assemble(replace(small, steps=100, schedule=name), Ranks()).schedule
            for name in ("wsd", "cosine")
        )
        assert [wsd.lr(step) for step in (5, 50, 80, 100)] == [4e-3, 4e-3, 4e-3, 0.0]
        for step in (5, 20, 50, 99):
            slow = 4e-3 * (1 + math.cos(math.pi * (step - 5) / 95)) / 2
            assert cosine.lr(step) == pytest.approx(slow, rel=1e-12)

    def test_rates_stand_in_for_a_schedule(self, small):
        rates = ((0, 0.0), (4, 1e-3), (8, 1e-3), (10, 1e-4), (12, 1e-3))
        train(replace(small, rates=rates))
        used = [one.lr for one in journal.load(small.home) if isinstance(one, StepRecord)]
        assert used == pytest.approx(
            [2.5e-4, 5e-4, 7.5e-4, *[1e-3] * 5, 5.5e-4, 1e-4, 5.5e-4, 1e-3], rel=1e-12
        )


class TestRun:
    def test_a_branch_goes_on_in_its_parents_data_until_its_own_plan_differs(self, small):
        long = replace(small, steps=60, checkpoint_every=20, mixture=parse_mixture("1,1,1@0"))
        train(long)
        branch = replace(
            long, home=small.home.parent / "branch", steps=24, branch_from=(small.home, 20),
            mixture=parse_mixture("1,1,1@0;0,0,1@22"),
        )  # fmt: skip
        train(branch)
        parent, child = (
            {one.step: one for one in journal.load(home) if isinstance(one, StepRecord)}
            for home in (small.home, branch.home)
        )
        assert list(child) == [21, 22, 23, 24]
        assert child[21].sequences == parent[21].sequences
        assert child[21].nll == parent[21].nll
        assert child[23].sequences == (0, 0, 4)

    def test_a_leak_and_a_bad_shard_reach_the_run_through_the_fault_plan(self, small):
        plan = small.home.parent / "faults.json"
        leak = faults.Fault(kind="leak", step=1, seed=0, domain=1, first_draw=0, end_draw=48)
        faults.save([leak], plan)
        train(replace(small, fault_plan=plan))
        order = order_of(small.home)
        panel = {
            one.tokens.tobytes() for one in load_corpus(small).panel.sequences if one.domain == 1
        }
        leaked = [
            draw
            for draw in range(48)
            if order.block(draw).domain == 1 and order.block(draw).tokens.tobytes() in panel
        ]
        assert leaked

    def test_ramp_mixture_and_z_loss_are_on_record(self, small):
        settings = replace(
            small, ramp=((0, 1), (6, 2)), mixture=parse_mixture("1,0,1@0;0,1,0@6"), z_loss=1e-3,
            config=replace(small.config, qk_norm=True, softcap=30.0),
        )  # fmt: skip
        train(settings)
        events = journal.load(settings.home)
        records = [one for one in events if isinstance(one, StepRecord)]
        assert [sum(one.sequences) for one in records] == [4] * 6 + [8] * 6
        assert all(one.sequences[1] == 0 for one in records[:6])
        assert all(one.sequences == (0, 8, 0) for one in records[6:])
        assert all(one.z_loss > 0 for one in records)
        assert next(one for one in events if isinstance(one, RunBegan)).ramp == ((6, 8),)

    def test_the_order_of_a_mixture_can_be_had_again_from_the_home(self, small):
        settings = replace(small, mixture=parse_mixture("1,0,1@0;0,1,0@3-9"))
        train(settings)
        order = assemble(settings, Ranks()).feed.order
        again = order_of(settings.home)
        assert [again.text(draw) for draw in range(48)] == [order.text(draw) for draw in range(48)]

    def test_its_model_can_be_built_again_from_the_home_and_measured(self, small):
        train(replace(small, checkpoint_every=6, panel_every=6))
        seen = [one for one in journal.read(small.home) if isinstance(one, PanelRecord)]
        found = measure(small.home, "12")
        assert found.losses == next(one.losses for one in seen if one.step == 12)

    def test_a_run_that_left_the_loop_goes_on_as_if_it_had_not(self, small):
        train(small)
        parted = replace(small, home=small.home.parent / "parted" / "run", checkpoint_every=5)
        train(replace(parted, stop_after=7))
        assert not [one for one in journal.load(parted.home) if isinstance(one, RunEnded)]
        train(parted)
        looks = [
            [one for one in journal.load(run.home) if isinstance(one, PanelRecord)][-1]
            for run in (small, parted)
        ]
        assert looks[0].nll == looks[1].nll

    def test_a_corpus_that_was_read_before_makes_the_same_run(self, small):
        parts = assemble(small, Ranks())
        other = assemble(small, Ranks(), corpus=parts.corpus)
        assert other.corpus is parts.corpus
        assert other.panel.digest == parts.panel.digest
