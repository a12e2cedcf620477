import json

import pytest

from steadytrain.corpora.documents import Document, Trouble
from steadytrain.corpora.inputs import find, read
from tests.corpora.makers import CLEAN, ids, write_lines, write_mds, write_megatron


def names(*paths):
    return [one.name for one in find([str(path) for path in paths])]


def pieces(path, *, can_decode=True):
    return [
        piece
        for one in find([str(path)])
        for piece in read(one, column="text", can_decode=can_decode)
    ]


class TestFind:
    def test_a_folder_is_walked_in_the_order_of_names_without_hidden_files(self, tmp_path):
        for name in ("b.txt", "a/z.md", ".git/x.txt", "__pycache__/x.txt", "a/y.txt"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("x")
        assert names(tmp_path) == [f"{tmp_path}/{name}" for name in ("b.txt", "a/y.txt", "a/z.md")]

    def test_a_pattern_gives_what_it_matches(self, tmp_path):
        for name in ("a.txt", "b.md", "c.txt"):
            (tmp_path / name).write_text("x")
        assert names(tmp_path / "*.txt") == [f"{tmp_path}/a.txt", f"{tmp_path}/c.txt"]

    def test_a_file_given_twice_is_read_once(self, tmp_path):
        (tmp_path / "a.txt").write_text("x")
        assert len(names(tmp_path, tmp_path / "a.txt", tmp_path / "*")) == 1

    @pytest.mark.parametrize("given", ["a.idx", "a.bin", "a", ""])
    def test_either_half_the_stem_and_the_folder_of_a_megatron_pair_are_the_pair(
        self, tmp_path, given
    ):
        write_megatron(tmp_path / "a", [[ids("x")]])
        assert names(tmp_path / given) == [f"{tmp_path}/a.idx"]

    def test_the_shards_of_a_folder_of_mds_are_those_of_its_index(self, tmp_path):
        for name in ("s.0.mds", "s.1.mds"):
            write_mds(tmp_path / name, {"text": ("str", None)}, [{"text": CLEAN.encode()}])
        shards = [
            {"format": "mds", "raw_data": {"basename": f"s.{n}.mds"}, "zip_data": None}
            for n in range(3)
        ]
        (tmp_path / "index.json").write_text(json.dumps({"shards": shards, "version": 2}))
        found = pieces(tmp_path)
        assert [one.source for one in found if isinstance(one, Document)] == [
            f"{tmp_path}/s.0.mds:0",
            f"{tmp_path}/s.1.mds:0",
        ]
        (missing,) = [one for one in found if isinstance(one, Trouble)]
        assert missing.file == f"{tmp_path}/s.2.mds"


class TestRead:
    def test_a_path_that_is_not_there_says_what_to_write(self, tmp_path):
        (trouble,) = pieces(tmp_path / "nowhere")
        assert "does not exist and matches nothing" in trouble.why

    def test_an_empty_folder_and_an_empty_file_asked_for_by_name_are_named(self, tmp_path):
        (trouble,) = pieces(tmp_path)
        assert "is a folder without files" in trouble.why
        (tmp_path / "a.jsonl").write_text("\n\n")
        (trouble,) = pieces(tmp_path / "a.jsonl")
        assert (trouble.level, "holds no document" in trouble.why) == ("lost", True)

    def test_what_is_no_text_in_a_folder_is_passed_by_and_counted(self, tmp_path):
        (tmp_path / "a.so").write_bytes(b"\x7fELF\0\0")
        (tmp_path / "b.py").write_text("")
        assert [(one.level, one.why) for one in pieces(tmp_path)] == [
            ("passed", ".so"),
            ("passed", "empty"),
        ]

    def test_the_same_file_asked_for_by_name_is_linted(self, tmp_path):
        (tmp_path / "a.so").write_bytes(b"\x7fELF\0\0")
        assert isinstance(pieces(tmp_path / "a.so")[0], Document)

    def test_a_nul_byte_in_a_text_file_is_damage_to_find(self, tmp_path):
        (tmp_path / "a.txt").write_bytes(b"a\0b")
        assert isinstance(pieces(tmp_path)[0], Document)

    def test_ids_without_a_tokenizer_are_named_once_a_file(self, tmp_path):
        write_megatron(tmp_path / "a", [[ids("x")], [ids("y")]])
        (trouble,) = pieces(tmp_path / "a.bin", can_decode=False)
        assert "Write --tokenizer" in trouble.why

    def test_a_bin_without_an_index_says_what_is_missing(self, tmp_path):
        (tmp_path / "a.bin").write_bytes(b"\0\1")
        (trouble,) = pieces(tmp_path / "a.bin")
        assert "no a.idx beside it" in trouble.why

    def test_compressed_text_is_told_by_content_not_by_name(self, tmp_path):
        write_lines(tmp_path / "a.jsonl.gz", [{"text": "not packed at all"}])
        assert pieces(tmp_path)[0].text == "not packed at all"
