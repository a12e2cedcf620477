"""A run's panel on its checkpoints: what the run saw itself, and clear words for what is not there."""

import json

import pytest
import torch

from steadytrain import cli, journal
from steadytrain.errors import CheckpointError, SettingError
from steadytrain.events import PanelRecord
from steadytrain.lab.model import Config, Transformer
from steadytrain.train.losses import token_losses
from steadytrain.train.measuring import measure
from tests import rig

HERE = "tests.train.test_measuring"


def build(home):
    return Transformer(Config(width=16, layers=2, heads=2, context=rig.CONTEXT), seed=99)


def with_losses(home):
    def doubled(model, batch):
        return 2 * token_losses(model(batch.tokens_BT), batch.targets_BT)[0]

    return build(home), doubled


def build_another(home):
    return Transformer(Config(width=32, layers=2, heads=2, context=rig.CONTEXT), seed=99)


def build_nothing(home):
    return {"weights": None}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    home = tmp_path_factory.mktemp("measured") / "run"
    rig.train(home, steps=40, checkpoint_every=20)
    return home


def test_a_checkpoint_gives_what_the_run_saw_bit_for_bit(trained):
    before = sorted(path.read_bytes() for path in (trained / "journal").iterdir())
    seen = {one.step: one for one in journal.read(trained) if isinstance(one, PanelRecord)}
    found = measure(trained, "20", model=f"{HERE}:build")
    assert found.losses == seen[20].losses
    assert found.nll == seen[20].nll
    assert found.why == "checkpoint a0001-s00000020"
    assert sorted(path.read_bytes() for path in (trained / "journal").iterdir()) == before


def test_the_losses_of_the_run_can_come_with_the_model(trained):
    plain = measure(trained, "a0001-s00000040", model=f"{HERE}:build")
    other = measure(trained, "40", model=f"{HERE}:with_losses")
    assert other.nll == pytest.approx([2 * one for one in plain.nll])


def test_it_is_measured_in_eval_mode_and_takes_no_random_number(trained):
    state = torch.random.get_rng_state()
    first = measure(trained, "40", model=f"{HERE}:build")
    torch.random.set_rng_state(state)
    assert measure(trained, "40", model=f"{HERE}:build").losses == first.losses


@pytest.mark.parametrize(
    ("checkpoint", "model", "error", "words"),
    [
        ("7", "build", CheckpointError, "one that it has: a0001-s"),
        ("40", "build_another", CheckpointError, "of another model"),
        ("40", "build_nothing", SettingError, "gives a dict"),
        ("40", "nowhere", SettingError, "gives no model"),
    ],
)
def test_what_does_not_fit_is_refused_with_words(trained, checkpoint, model, error, words):
    with pytest.raises(error, match=words):
        measure(trained, checkpoint, model=f"{HERE}:{model}")


def test_without_a_model_it_says_how_to_name_one(trained):
    with pytest.raises(SettingError, match="--model package.module:function"):
        measure(trained, "40")


def test_a_damaged_checkpoint_is_never_measured(trained, tmp_path):
    rig.train(tmp_path / "r", steps=20, checkpoint_every=20)
    path = tmp_path / "r" / "checkpoints" / "a0001-s00000020"
    data = bytearray(next(path.glob("*.distcp")).read_bytes())
    data[len(data) // 2] ^= 1
    next(path.glob("*.distcp")).write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged"):
        measure(tmp_path / "r", "20", model=f"{HERE}:build")


def test_a_run_without_a_panel_says_so(tmp_path):
    rig.train(tmp_path / "r", steps=10, panel=None, panel_every=None)
    with pytest.raises(SettingError, match="keeps no panel"):
        measure(tmp_path / "r", "10", model=f"{HERE}:build")


class TestTheCommand:
    def run(self, capsys, *arguments):
        status = cli.main(["panel", *[str(one) for one in arguments]])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    def test_a_look_on_record_is_shown_and_printed_as_json(self, capsys, trained):
        status, out, _ = self.run(capsys, trained, "--step", 20)
        assert status == 0
        assert "the fixed panel at step 20" in out
        status, out, _ = self.run(capsys, trained, "--json")
        told = json.loads(out)
        assert told["step"] == 40
        assert {one["domain"] for one in told["domains"]} == {"all", "prose", "list"}
        assert len(told["record"]["losses"][0]) == told["domains"][1]["micro"]["sequences"]

    def test_a_checkpoint_is_compared_with_the_looks_on_record(self, capsys, trained):
        status, out, _ = self.run(capsys, trained, "--checkpoint", 40, "--model", f"{HERE}:build")
        assert status == 0
        assert "checkpoint a0001-s00000040" in out
        assert "the same, bit for bit" in out
        status, out, _ = self.run(
            capsys,
            trained,
            "--checkpoint",
            40,
            "--model",
            f"{HERE}:build",
            "--against",
            20,
            "--json",
        )
        assert json.loads(out)["against"] == 20

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--step", "7"], "was not looked at there"),
            (["--against", "x"], "is no step of this run"),
            (["--step", "20", "--checkpoint", "20"], "one of the two"),
            (["--out", "p.jsonl"], "--out is for drawing a panel"),
            (["--texts", "a=b", "--panel", "c"], "one of the two"),
        ],
    )
    def test_bad_input_gets_clear_words(self, capsys, trained, options, words):
        status, _, error = self.run(capsys, trained, *options)
        assert status == 2
        assert words in error

    def test_a_folder_that_is_not_there_may_be_a_model(self, capsys, tmp_path):
        status, _, error = self.run(capsys, tmp_path / "nothing")
        assert status == 2
        assert "--texts zh=PATH" in error
