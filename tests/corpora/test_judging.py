"""Verdict lines: fields, order, processes, exit statuses, the report."""

import json

from steadytrain import cli
from steadytrain.corpora import judging
from tests.corpora.makers import BLANK, CLEAN, ids, write_megatron


def lint(capsys, *arguments):
    status = cli.main(["lint", *map(str, arguments)])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def rows_of(out):
    return [json.loads(line) for line in out.splitlines()]


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
