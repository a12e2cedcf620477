"""Two runs beside each other: what differs is found, and what cannot be compared is said."""

import random

import pytest

from steadytrain import cli
from steadytrain import events as ev
from steadytrain.board.report import report
from steadytrain.errors import JournalError
from steadytrain.journal import Journal
from tests import looks
from tests.samples import record


def write(
    home, *, loss=2.0, steps=200, domains=("zh", "en"), panel=None, tokens=1_000, seed=0, **more
):
    rng = random.Random(seed)
    told = {
        "run": home.name, "recipe": {"near": 3.0}, "domains": domains, "model": "m",
        "parameters": 7, "world": 1, "draws_per_step": 32,
    }  # fmt: skip
    with Journal(home, "rank0") as book:
        book.append(ev.RunBegan(**(told | more)))
        book.append(ev.AttemptBegan(attempt=1, step=0, draw=0, cause="start"))
        if panel is not None:
            book.append(looks.drawn([200] * len(domains), **panel))
        for step in range(1, steps + 1):
            losses = tuple(loss + rng.gauss(0, 0.02) for _ in domains)
            spread = tuple((one * one + 0.05) * 10 for one in losses)
            book.append(
                record(
                    step, losses, seconds=1.0, squares=spread,
                    tokens=(tokens,) * len(domains), nll=tuple(one * tokens for one in losses),
                )
            )  # fmt: skip
            if panel is not None and step % 50 == 0:
                book.append(looks.look(step, [loss] * len(domains)))
    return home


def told(a, b, **more):
    return report(a, against=b, kind="md", **more)


def test_a_real_difference_is_told_apart_and_none_is_not(tmp_path):
    one = write(tmp_path / "a", seed=1)
    same, worse = write(tmp_path / "b", seed=2), write(tmp_path / "c", loss=2.2, seed=3)
    assert "are not told apart" in told(one, same)
    text = told(one, worse)
    assert "nats per token lower than that of c" in text
    assert "| zh | 1.99" in text or "| zh | 2.00" in text


def test_settings_that_differ_are_listed_and_others_are_not(tmp_path):
    one = write(tmp_path / "a", recipe={"treatment": {"mode": "act"}, "near": 3.0})
    other = write(tmp_path / "b", recipe={"treatment": {"mode": "ask"}, "near": 3.0}, world=2)
    text = told(one, other)
    assert "| judge.treatment.mode | act | ask |" in text
    assert "| world | 1 | 2 |" in text
    assert "judge.near" not in text
    assert "All settings on record are the same" in told(one, one)


def test_one_panel_is_compared_sequence_by_sequence(tmp_path):
    one = write(tmp_path / "a", panel={})
    other = write(tmp_path / "b", loss=2.3, panel={})
    text = told(one, other)
    assert "## The fixed panel, paired" in text
    assert "at step 200 (400,000 tokens)" in text
    assert "| yes |" in text.split("panel, paired")[1]


def test_different_panels_are_not(tmp_path):
    one = write(tmp_path / "a", panel={"version": 1})
    other = write(tmp_path / "b")
    text = told(one, other)
    assert "b has no look at a panel on record" in text
    assert "## What is not compared" in text


def test_panels_of_different_tokenizers_are_not(tmp_path):
    one = write(tmp_path / "a", panel={"tokenizer": "bytes 257"})
    other = write(tmp_path / "b", panel={"tokenizer": "gpt2"})
    assert "different tokenizers cannot be compared" in told(one, other)


def test_equal_tokens_are_not_equal_steps(tmp_path):
    one = write(tmp_path / "a", tokens=1_000)
    other = write(tmp_path / "b", tokens=2_000)
    text = told(one, other)
    assert "equal tokens (400,000)" in text
    assert "equal steps (200)" in text
    assert "equal steps are not equal work" in text


def test_domains_of_one_run_alone_are_named(tmp_path):
    one, other = write(tmp_path / "a"), write(tmp_path / "b", domains=("zh", "code"))
    text = told(one, other)
    assert "Only a has the domains en" in text
    assert "Only b has the domains code" in text


def test_runs_without_a_stretch_in_common_say_so(tmp_path):
    one, other = write(tmp_path / "a"), write(tmp_path / "b", steps=0)
    assert "no stretch of training in common" in told(one, other)


def test_two_runs_of_one_name_are_told_apart_by_their_folders(tmp_path):
    one = write(tmp_path / "x" / "r")
    other = write(tmp_path / "y" / "r")
    text = told(one, other)
    assert "x/r" in text
    assert "y/r" in text


@pytest.mark.parametrize("kind", ["html", "md"])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_way_of_writing_it_is_whole(tmp_path, kind, lang):
    one, other = write(tmp_path / "a", panel={}), write(tmp_path / "b", panel={}, tokens=2_000)
    text = report(one, against=other, kind=kind, lang=lang)
    assert "{" not in text.split("</style>")[-1]
    assert ("<svg" in text) == (kind == "html")


def test_a_folder_without_a_run_is_an_error_in_words(tmp_path):
    with pytest.raises(JournalError, match="nothing to report"):
        told(write(tmp_path / "a"), tmp_path / "nowhere")


def test_the_command_writes_prints_and_compares(tmp_path, capsys):
    one, other = write(tmp_path / "a"), write(tmp_path / "b")
    assert cli.main(["report", str(one)]) == 0
    assert (one / "report.html").exists()
    assert cli.main(["report", str(one), "--format", "md", "--lang", "zh"]) == 0
    assert (one / "report.md").exists()
    capsys.readouterr()
    line = ["report", str(one), "--against", str(other), "--format", "md", "--out", "-"]
    assert cli.main(line) == 0
    assert capsys.readouterr().out.startswith("# a against b")
