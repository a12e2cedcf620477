import bz2
import gzip
import importlib
import json
import lzma
import re

import pytest

from steadytrain.corpora import streams, texts
from steadytrain.corpora.documents import Document, Trouble
from tests.corpora.makers import write_lines

ROWS = [
    {"id": "zh-7", "domain": "zh/web", "text": "稳定训练"},
    {"text": "two"},
    {"id": 9, "text": None},
]


def seen(path, read=texts.read_lines, column="text"):
    pieces = list(read(path, path.name, column))
    return (
        [one for one in pieces if isinstance(one, Document)],
        [one for one in pieces if isinstance(one, Trouble)],
    )


def packed_by_zstandard(content):
    return pytest.importorskip("zstandard").ZstdCompressor(write_checksum=True).compress(content)


class TestLines:
    def test_id_and_domain_of_a_record_are_honoured_and_the_line_stands_in(self, tmp_path):
        found, troubles = seen(write_lines(tmp_path / "a.jsonl", ROWS))
        assert [one.id for one in found] == ["zh-7", 2, 9]
        assert [one.domain for one in found] == ["zh/web", None, None]
        assert [one.source for one in found] == ["a.jsonl:1", "a.jsonl:2", "a.jsonl:3"]
        assert [one.text for one in found] == ["稳定训练", "two", ""]
        assert not troubles

    def test_a_blank_line_counts_as_a_line_and_is_no_document(self, tmp_path):
        (tmp_path / "a.jsonl").write_text('{"text": "a"}\n\n{"text": "b"}')
        assert [one.number for one in seen(tmp_path / "a.jsonl")[0]] == [1, 3]

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            (b"{", "is no JSON"),
            (b'{"body": "x", "n": 1}', "no field 'text' but body, n.*Write --column body"),
            (b'{"text": 3}', "has 3 in field 'text'"),
            (b"[1]", "no object"),
        ],
    )
    def test_a_line_without_a_text_is_named_and_the_others_are_read(self, tmp_path, line, words):
        (tmp_path / "a.jsonl").write_bytes(b'{"text": "a"}\n' + line + b'\n{"text": "b"}\n')
        found, (trouble,) = seen(tmp_path / "a.jsonl")
        assert [one.text for one in found] == ["a", "b"]
        assert (trouble.source, trouble.level) == ("a.jsonl:2", "lost")
        assert re.search(words, trouble.why)

    def test_bytes_that_are_no_utf8_are_read_as_a_trainer_would_and_remarked(self, tmp_path):
        (tmp_path / "a.jsonl").write_bytes(b'{"text": "a\xffb", "id": "x"}\n')
        (one,), (remark,) = seen(tmp_path / "a.jsonl")
        assert (one.text, one.id) == ("a\ufffdb", "x")
        assert remark.level == "remark"
        assert "iconv" in remark.why

    def test_half_a_surrogate_pair_is_text_that_can_be_written_again(self, tmp_path):
        (tmp_path / "a.jsonl").write_bytes(b'{"text": "a \\ud800 b"}\n')
        (one,), _ = seen(tmp_path / "a.jsonl")
        assert one.text == "a ? b"

    def test_another_column_is_read_when_asked_for(self, tmp_path):
        found, _ = seen(write_lines(tmp_path / "a.jsonl", [{"body": "x"}]), column="body")
        assert found[0].text == "x"

    def test_a_line_longer_than_memory_should_hold_is_named(self, tmp_path, monkeypatch):
        monkeypatch.setattr(streams, "LONGEST_LINE", 50)
        monkeypatch.setattr(streams, "BLOCK_BYTES", 20)
        path = write_lines(tmp_path / "a.jsonl", [{"text": "x"}, {"text": "y" * 90}, {"text": "z"}])
        found, (trouble,) = seen(path)
        assert [one.text for one in found] == ["x", "z"]
        assert "longer than" in trouble.why

    def test_a_json_file_of_records_is_told_from_a_json_file(self, tmp_path):
        records = write_lines(tmp_path / "c4.json", ROWS[1:2])
        (tmp_path / "settings.json").write_text(json.dumps({"text": "x"}, indent=1))
        assert texts.holds_records(records)
        assert not texts.holds_records(tmp_path / "settings.json")


PACKERS = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstandard": packed_by_zstandard,
}


@pytest.mark.parametrize("packer", PACKERS.values(), ids=PACKERS)
class TestCompressed:
    def test_lines_are_read_across_frames(self, tmp_path, packer):
        one, two = (packer(json.dumps({"text": text}).encode() + b"\n") for text in "ab")
        (tmp_path / "a.jsonl.x").write_bytes(one + two)
        found, troubles = seen(tmp_path / "a.jsonl.x")
        assert [one.text for one in found] == ["a", "b"]
        assert not troubles

    def test_a_torn_file_gives_what_comes_before_the_tear_and_says_so(self, tmp_path, packer):
        rows = b"".join(b'{"text": "%x"}\n' % (n * 7919**5) for n in range(40_000))
        content = packer(rows)
        (tmp_path / "a.jsonl.x").write_bytes(content[: len(content) * 3 // 4])
        found, (trouble,) = seen(tmp_path / "a.jsonl.x")
        assert 1_000 < len(found) < 40_000
        assert trouble.level == "lost"
        assert f"documents after line {len(found)} could not be read" in trouble.why

    def test_damage_in_the_middle_is_named(self, tmp_path, packer):
        rows = b"".join(b'{"text": "%x"}\n' % (n * 7919**5) for n in range(40_000))
        content = bytearray(packer(rows))
        middle = len(content) // 2
        content[middle : middle + 64] = bytes(range(64))
        (tmp_path / "a.jsonl.x").write_bytes(content)
        assert any(trouble.level == "lost" for trouble in seen(tmp_path / "a.jsonl.x")[1])


def test_without_a_library_for_zstandard_the_message_says_what_to_install(tmp_path, monkeypatch):
    def without(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", without)
    (tmp_path / "a.jsonl.zst").write_bytes(b"\x28\xb5\x2f\xfd and more")
    _, (trouble,) = seen(tmp_path / "a.jsonl.zst")
    assert "pip install zstandard" in trouble.why


class TestPlainText:
    def test_a_file_is_one_document_without_number(self, tmp_path):
        (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\ntwo")
        (one,), _ = seen(tmp_path / "a.txt", texts.read_text)
        assert (one.source, one.id, one.text) == ("a.txt", None, "one\ntwo")

    def test_a_long_file_is_cut_at_lines_and_loses_nothing(self, tmp_path, monkeypatch):
        monkeypatch.setattr(texts, "PART_BYTES", 50)
        content = "".join(f"line {n} 稳定\n" for n in range(1, 40))
        (tmp_path / "a.txt").write_text(content)
        found, _ = seen(tmp_path / "a.txt", texts.read_text)
        assert "".join(one.text for one in found) == content
        assert all(content.encode()[one.number :].startswith(one.text.encode()) for one in found)

    def test_a_line_without_end_is_cut_between_characters(self, tmp_path, monkeypatch):
        monkeypatch.setattr(texts, "PART_BYTES", 50)
        (tmp_path / "a.txt").write_text("稳定训练" * 60)
        found, troubles = seen(tmp_path / "a.txt", texts.read_text)
        assert "".join(one.text for one in found) == "稳定训练" * 60
        assert len({one.source for one in found}) == len(found)
        assert not troubles
