"""`steadytrain lint` from end to end: order, processes, kills, exit statuses."""

import json
import subprocess
import sys

import pytest

from steadytrain import cli
from steadytrain.corpora import judging
from tests.corpora.makers import BLANK, CLEAN, ids, write_lines, write_megatron


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """120 documents in five files, every seventh blank, and a line that is no record."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "corpus"
    for shard in range(4):
        rows = [
            {"id": f"d{shard}-{n}", "domain": "en", "text": BLANK if n % 7 == 3 else f"{CLEAN}{n}"}
            for n in range(30)
        ]
        write_lines(folder / f"{shard}.jsonl", rows)
    with open(folder / "2.jsonl", "a") as file:
        file.write("torn {\n")
    (folder / "z.txt").write_text(CLEAN)
    return folder


def lint(capsys, *arguments):
    status = cli.main(["lint", *map(str, arguments)])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def rows_of(out):
    return [json.loads(line) for line in out.splitlines()]


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


class TestJson:
    def test_a_line_per_document_with_the_promised_fields_in_the_order_of_the_input(
        self, capsys, corpus
    ):
        status, out, _ = lint(capsys, "corpus/0.jsonl", "corpus/z.txt", "--json")
        rows = rows_of(out)
        fields = ["id", "source", "domain", "verdict", "class", "confidence", "offsets", "evidence"]
        assert status == 1
        assert all(list(row) == fields for row in rows)
        assert [row["id"] for row in rows] == [*(f"d0-{n}" for n in range(30)), None]
        assert rows[3] | {"confidence": 0, "evidence": ""} == {
            "id": "d0-3",
            "source": "corpus/0.jsonl:4",
            "domain": "en",
            "verdict": "corrupt",
            "class": "blank",
            "confidence": 0,
            "offsets": [[0, 400]],
            "evidence": "",
        }
        assert rows[0]["class"] is None

    def test_the_domain_of_the_command_line_holds_where_a_record_has_none(self, capsys, corpus):
        _, out, _ = lint(capsys, "corpus/0.jsonl", "corpus/z.txt", "--domain", "zh", "--json")
        assert {row["domain"] for row in rows_of(out)[:30]} == {"en"}
        assert rows_of(out)[30]["domain"] == "zh"

    def test_processes_give_the_same_lines_in_the_same_order(self, capsys, corpus, monkeypatch):
        monkeypatch.setattr(judging, "CHUNK_PIECES", 7)
        alone = lint(capsys, "corpus", "--json")
        assert lint(capsys, "corpus", "--json", "--workers", "2") == alone

    def test_ids_are_read_by_the_tokenizer_in_processes_too(self, capsys, tmp_path):
        write_megatron(tmp_path / "a", [[ids(CLEAN)], [ids(BLANK)]])
        given = (tmp_path / "a.bin", "--tokenizer", "bytes", "--json", "--workers", "2")
        assert [row["verdict"] for row in rows_of(lint(capsys, *given)[1])] == ["clean", "corrupt"]


class TestStatus:
    def test_0_clean_1_corrupt_2_not_all_could_be_read(self, capsys, corpus):
        assert lint(capsys, "corpus/z.txt")[0] == 0
        assert lint(capsys, "corpus/0.jsonl")[0] == 1
        assert lint(capsys, "corpus/z.txt", "nowhere")[0] == 2

    def test_no_workers_and_no_tokenizer_are_refused_before_reading(self, capsys, corpus):
        assert lint(capsys, "corpus", "--workers", "0")[0] == 2
        status, _, error = lint(capsys, "corpus", "--tokenizer", "nowhere")
        assert status == 2
        assert "there is no nowhere" in error

    def test_what_could_not_be_read_is_told_and_all_else_is_linted(self, capsys, corpus):
        status, out, error = lint(capsys, "corpus")
        assert status == 2
        assert "corpus/2.jsonl:31 is no JSON" in error
        assert "121 documents read, 16 corrupt" in out

    def test_a_thousand_bad_lines_are_counted_not_listed(self, capsys, tmp_path):
        (tmp_path / "a.jsonl").write_text("{\n" * 1000)
        _, _, error = lint(capsys, tmp_path / "a.jsonl")
        assert error.count("is no JSON") == 3
        assert "997 more parts not read" in error


class TestReport:
    def test_by_class_and_by_source_with_examples(self, capsys, corpus):
        _, out, _ = lint(capsys, "corpus")
        assert "corrupt, by class\n  blank                 16" in out
        assert "corpus/0.jsonl:4 (d0-3): 0 of 400 characters are visible" in out
        assert "4 of       30   13.33 %  corpus/3.jsonl" in out

    def test_no_bar_where_there_is_no_terminal(self, capsys, corpus):
        assert lint(capsys, "corpus/0.jsonl")[2] == ""


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
