"""The folder of a lint: kills, changed corpora, other settings."""

import subprocess
import sys

import pytest

from steadytrain import cli
from steadytrain.corpora import judging
from tests.corpora.makers import CLEAN, write_lines


def lint(capsys, *arguments):
    status = cli.main(["lint", *map(str, arguments)])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


KILLED = """
import os, signal, sys
from steadytrain import cli
from steadytrain.corpora import judging, ledger
judging.CHUNK_PIECES, ledger.SAVED_EVERY, left = 5, float(sys.argv[2]), [int(sys.argv[1])]
add = ledger.Ledger.add
def add_and_die(self, judged, end):
    add(self, judged, end)
    left[0] -= 1
    if left[0] == 0:
        for file in self._files.values():
            file.write(b'{"torn')
            file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
ledger.Ledger.add = add_and_die
cli.main(sys.argv[3:])
"""


class TestGoingOn:
    @pytest.mark.parametrize("workers", [1, 2])
    @pytest.mark.parametrize(("chunks", "saved_every"), [(1, 0), (4, 0), (13, 0), (9, 1000)])
    def test_a_killed_lint_goes_on_to_the_same_files(
        self, capsys, corpus, workers, chunks, saved_every
    ):
        lint(capsys, "corpus", "--out", "whole")
        given = ["lint", "corpus", "--out", "parts", "--workers", str(workers)]
        for stop in (chunks, 2):
            killed = subprocess.run(
                [sys.executable, "-c", KILLED, str(stop), str(saved_every), *given],
                capture_output=True,
                check=False,
            )
            assert killed.returncode == -9, killed.stderr
        assert contents(corpus.parent / "parts") != contents(corpus.parent / "whole")
        status, out, _ = lint(capsys, *given[1:])
        assert status == 2
        assert "121 documents read, 16 corrupt" in out
        assert contents(corpus.parent / "parts") == contents(corpus.parent / "whole")

    def test_the_number_of_processes_and_the_size_of_chunks_change_no_file(
        self, capsys, corpus, monkeypatch
    ):
        lint(capsys, "corpus", "--out", "a")
        monkeypatch.setattr(judging, "CHUNK_PIECES", 4)
        lint(capsys, "corpus", "--out", "b", "--workers", "2")
        assert contents(corpus.parent / "a") == contents(corpus.parent / "b")

    def test_a_complete_lint_is_reported_again_and_not_done_again(self, capsys, corpus):
        first = lint(capsys, "corpus", "--out", "out")
        before = contents(corpus.parent / "out")
        again = lint(capsys, "corpus", "--out", "out")
        assert (again[0], again[1]) == (first[0], first[1])
        assert "is complete" in again[2]
        assert contents(corpus.parent / "out") == before

    def test_the_verdict_lines_of_the_folder_are_those_of_json(self, capsys, corpus):
        _, out, _ = lint(capsys, "corpus", "--json", "--out", "out")
        assert (corpus.parent / "out" / "verdicts.jsonl").read_text() == out

    @pytest.mark.parametrize("change", ["changed", "come", "gone"])
    def test_another_corpus_is_refused_by_the_name_of_the_file(self, capsys, corpus, change):
        lint(capsys, "corpus", "--out", "out")
        if change == "changed":
            write_lines(corpus / "0.jsonl", [{"text": CLEAN}])
        elif change == "come":
            (corpus / "0.jsonl").with_suffix(".txt").write_text(CLEAN)
        else:
            (corpus / "0.jsonl").unlink()
        status, _, error = lint(capsys, "corpus", "--out", "out")
        assert status == 2
        assert f"has {change} since out was begun" in error

    def test_other_settings_are_refused(self, capsys, corpus):
        lint(capsys, "corpus", "--out", "out")
        status, _, error = lint(capsys, "corpus", "--out", "out", "--domain", "zh")
        assert status == 2
        assert "begun with --domain none, and now it is 'zh'" in error

    def test_a_folder_that_lost_lines_is_refused(self, capsys, corpus):
        lint(capsys, "corpus", "--out", "out")
        (corpus.parent / "out" / "verdicts.jsonl").write_text("")
        assert "lines were lost" in lint(capsys, "corpus", "--out", "out")[2]

    def test_a_folder_of_something_else_is_not_written_over(self, capsys, corpus):
        (corpus.parent / "out").mkdir()
        (corpus.parent / "out" / "verdicts.jsonl").write_text("mine")
        assert "would be written over" in lint(capsys, "corpus", "--out", "out")[2]
