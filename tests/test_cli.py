"""The command line: clear words for bad input, exit statuses that scripts can trust."""

import json

import pytest

from steadytrain import cli
from tests import rig


def run(capsys, *arguments):
    status = cli.main([str(one) for one in arguments])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    assert all(
        name in shown for name in ("demo", "run", "remedy", "replay", "report", "lint", "doctor")
    )


def test_run_without_a_script_says_how_to_write_it(capsys, tmp_path):
    status, _, error = run(capsys, "run", "--home", tmp_path)
    assert status == 2
    assert "steadytrain run --home runs/r1 -- train.py" in error


def test_replay_of_a_run_says_that_all_is_the_same(capsys, tmp_path):
    rig.train(tmp_path / "r", steps=20)
    status, out, _ = run(capsys, "replay", tmp_path / "r")
    assert status == 0
    assert "all the same" in out


def test_replay_of_nothing_says_what_to_give(capsys, tmp_path):
    status, _, error = run(capsys, "replay", tmp_path)
    assert status == 2
    assert "holds no journal of a run" in error


def test_report_writes_one_file(capsys, tmp_path):
    rig.train(tmp_path / "r", steps=20)
    status, out, _ = run(capsys, "report", tmp_path / "r", "--out", tmp_path / "r.html")
    assert status == 0
    assert (tmp_path / "r.html").read_text().lower().startswith("<!doctype html>")


def test_lint_finds_the_blank_document(capsys, tmp_path):
    (tmp_path / "a.txt").write_text("\n" * 500)
    (tmp_path / "b.txt").write_text(
        "The loss of a long run falls, and then it does not; somebody wakes and looks."
    )
    status, out, _ = run(capsys, "lint", tmp_path / "a.txt", tmp_path / "b.txt", "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert status == 1
    assert [one["class"] for one in found] == ["blank", None]


def test_doctor_says_what_is_ready(capsys):
    status, out, _ = run(capsys, "doctor")
    assert status == 0
    assert "train, run" in out


def test_a_demo_with_an_unknown_fault_names_the_known_ones(capsys, tmp_path):
    status, _, error = run(capsys, "demo", "--faults", "gremlins", "--home", tmp_path)
    assert status == 2
    assert "'gremlins' is no fault" in error
    assert "garbled" in error


def test_a_demo_too_short_for_its_faults_says_how_long_it_must_be(capsys, tmp_path):
    status, _, error = run(capsys, "demo", "--steps", "100", "--home", tmp_path)
    assert status == 2
    assert "Write --steps" in error


@pytest.mark.parametrize(
    ("given", "words"),
    [("zh", "names no text"), ("zh=/no/such/file", "/no/such/file")],
)
def test_a_domain_that_cannot_be_read_is_explained(capsys, tmp_path, given, words):
    status, _, error = run(capsys, "demo", "--domain", given, "--home", tmp_path)
    assert status == 2
    assert words in error
