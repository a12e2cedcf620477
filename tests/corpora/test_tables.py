"""Parquet, Megatron, MDS and the tokenizers that their ids need."""

import gzip
import importlib
import json
import re
import struct

import numpy as np
import pytest

from steadytrain.corpora.documents import Document, Trouble
from steadytrain.corpora.mds import read_mds
from steadytrain.corpora.megatron import read_megatron
from steadytrain.corpora.parquet import read_parquet
from steadytrain.corpora.tokens import ByteTokenizer, ids_of, load_tokenizer
from steadytrain.errors import SettingError
from tests.corpora.makers import ids, write_mds, write_megatron


def seen(read, path, column="text"):
    pieces = list(read(path, path.name, column))
    return (
        [one for one in pieces if isinstance(one, Document)],
        [one for one in pieces if isinstance(one, Trouble)],
    )


def texts_of(documents):
    return [one.tokens.astype(np.uint8).tobytes().decode() for one in documents]


class TestParquet:
    @pytest.fixture
    def write(self, tmp_path):
        arrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")

        def write(columns, **types):
            table = arrow.table(
                {name: arrow.array(column, types.get(name)) for name, column in columns.items()}
            )
            parquet.write_table(table, tmp_path / "a.parquet", row_group_size=100)
            return tmp_path / "a.parquet"

        return write

    def test_rows_count_from_0_and_bring_their_id_and_domain(self, write):
        path = write({"text": ["one", None, "三"], "id": ["a", None, "c"], "domain": ["zh"] * 3})
        found, _ = seen(read_parquet, path)
        assert [one.id for one in found] == ["a", 1, "c"]
        assert [one.text for one in found] == ["one", "", "三"]
        assert found[2].source == "a.parquet:2"
        assert found[0].domain == "zh"

    def test_many_row_groups_are_numbered_through(self, write):
        found, _ = seen(read_parquet, write({"text": [str(n) for n in range(1000)]}))
        assert [one.number for one in found] == list(range(1000))

    def test_a_column_that_is_missing_or_no_text_is_named_with_what_to_write(self, write):
        _, (trouble,) = seen(read_parquet, write({"n": [1], "body": ["x"]}))
        assert "no column 'text' but n, body" in trouble.why
        assert "Write --column body" in trouble.why
        _, (trouble,) = seen(read_parquet, write({"n": [1], "body": ["x"]}), "n")
        assert "'n' of int64, which is no text" in trouble.why

    def test_bytes_that_are_no_utf8_are_remarked_and_read(self, write):
        arrow = pytest.importorskip("pyarrow")
        found, (remark,) = seen(read_parquet, write({"text": [b"a\xffb"]}, text=arrow.binary()))
        assert found[0].text == "a\ufffdb"
        assert remark.level == "remark"

    def test_a_column_of_ids_is_kept_as_ids(self, write):
        found, _ = seen(read_parquet, write({"input_ids": [ids("hello"), ids("you")]}))
        assert texts_of(found) == ["hello", "you"]

    def test_a_damaged_file_is_named(self, tmp_path):
        pytest.importorskip("pyarrow")
        (tmp_path / "a.parquet").write_bytes(b"PAR1 but not really")
        _, (trouble,) = seen(read_parquet, tmp_path / "a.parquet")
        assert "no readable Parquet file" in trouble.why

    def test_without_pyarrow_the_message_says_what_to_install(self, tmp_path, monkeypatch):
        def without(name):
            raise ModuleNotFoundError(name)

        monkeypatch.setattr(importlib, "import_module", without)
        (tmp_path / "a.parquet").write_bytes(b"PAR1")
        _, (trouble,) = seen(read_parquet, tmp_path / "a.parquet")
        assert "pip install pyarrow" in trouble.why


class TestMegatron:
    @pytest.mark.parametrize(("dtype", "code"), [("u1", 1), ("<u2", 8), ("<i4", 4), ("<i8", 5)])
    def test_a_document_is_the_ids_of_its_sequences(self, tmp_path, dtype, code):
        documents = [[ids("ab"), ids("cd")], [ids("efg")], []]
        path = write_megatron(tmp_path / "a", documents, dtype=dtype, code=code)
        found, troubles = seen(read_megatron, path)
        assert texts_of(found) == ["abcd", "efg", ""]
        assert [one.source for one in found] == ["a.bin:0", "a.bin:1", "a.bin:2"]
        assert not troubles

    def test_modes_of_a_multimodal_set_are_passed_over(self, tmp_path):
        path = write_megatron(tmp_path / "a", [[ids("ab")], [ids("c")]])
        path.write_bytes(path.read_bytes() + b"\0\1")
        assert texts_of(seen(read_megatron, path)[0]) == ["ab", "c"]

    def test_a_torn_index_is_named(self, tmp_path):
        path = write_megatron(tmp_path / "a", [[ids("ab")], [ids("c")]])
        path.write_bytes(path.read_bytes()[:-3])
        _, (trouble,) = seen(read_megatron, path)
        assert re.search(
            r"has \d+ bytes; 2 sequences and 3 edges take \d+: it is torn", trouble.why
        )

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"abc", "has 3 bytes"),
            (b"x" * 40, "no index of Megatron"),
            (struct.pack("<9sQBQQ", b"MMIDIDX\0\0", 2, 8, 0, 1), "version 2"),
            (struct.pack("<9sQBQQ", b"MMIDIDX\0\0", 1, 6, 0, 1), "no type of whole numbers"),
        ],
    )
    def test_what_is_no_index_is_named(self, tmp_path, content, words):
        path = write_megatron(tmp_path / "a", [[ids("ab")]])
        path.write_bytes(content)
        _, (trouble,) = seen(read_megatron, path)
        assert words in trouble.why

    def test_a_torn_bin_loses_only_the_documents_behind_the_tear(self, tmp_path):
        path = write_megatron(tmp_path / "a", [[ids("ab")], [ids("cd")]])
        path.with_suffix(".bin").write_bytes(path.with_suffix(".bin").read_bytes()[:-1])
        found, (trouble,) = seen(read_megatron, path)
        assert texts_of(found) == ["ab"]
        assert trouble.source == "a.bin:1"

    def test_an_index_without_its_bin_is_named(self, tmp_path):
        path = write_megatron(tmp_path / "a", [[ids("ab")]])
        path.with_suffix(".bin").unlink()
        _, (trouble,) = seen(read_megatron, path)
        assert "no a.bin beside it" in trouble.why


COLUMNS = {"id": ("str", None), "n": ("int", 8), "text": ("str", None)}


def sample(name, text):
    return {"id": name.encode(), "n": struct.pack("<q", 7), "text": text.encode()}


class TestMds:
    def test_a_column_of_text_is_read_with_its_id(self, tmp_path):
        path = write_mds(tmp_path / "s.mds", COLUMNS, [sample("x", "one"), sample("y", "三")])
        found, troubles = seen(read_mds, path)
        assert [(one.id, one.text, one.source) for one in found] == [
            ("x", "one", "s.mds:0"),
            ("y", "三", "s.mds:1"),
        ]
        assert not troubles

    def test_arrays_and_bytes_of_ids_are_kept_for_the_tokenizer(self, tmp_path):
        array = np.array(ids("hey"), "<u2")
        shapes = {
            "ndarray:uint16:3": array.tobytes(),
            "ndarray:uint16": bytes([1 << 2, 3]) + array.tobytes(),
            "ndarray": bytes([16, 1 << 2, 3]) + array.tobytes(),
            "bytes": array.tobytes(),
        }
        for kind, value in shapes.items():
            path = write_mds(tmp_path / "s.mds", {"tokens": (kind, None)}, [{"tokens": value}])
            (one,), _ = seen(read_mds, path)
            found = ids_of(one.tokens, 256) if kind == "bytes" else one.tokens
            assert found.tolist() == array.tolist(), kind

    def test_a_shard_without_the_column_says_which_it_has(self, tmp_path):
        path = write_mds(tmp_path / "s.mds", {"body": ("str", None)}, [{"body": b"x"}])
        _, (trouble,) = seen(read_mds, path)
        assert "no column 'text'" in trouble.why
        assert "write --column body" in trouble.why

    def test_a_torn_shard_gives_the_samples_before_the_tear(self, tmp_path):
        path = write_mds(tmp_path / "s.mds", COLUMNS, [sample("x", "one"), sample("y", "two")])
        path.write_bytes(path.read_bytes()[:-2])
        found, (trouble,) = seen(read_mds, path)
        assert [one.text for one in found] == ["one"]
        assert trouble.source == "s.mds:1"

    @pytest.mark.parametrize(
        "content", [b"", b"abc", b"\xff" * 30, b"\1\0\0\0" + b"\x0c\0\0\0" * 9]
    )
    def test_what_is_no_shard_is_named(self, tmp_path, content):
        (tmp_path / "s.mds").write_bytes(content)
        _, (trouble,) = seen(read_mds, tmp_path / "s.mds")
        assert trouble.level == "lost"

    def test_a_compressed_shard_is_unpacked(self, tmp_path):
        path = write_mds(tmp_path / "s.mds", COLUMNS, [sample("x", "one")])
        path.write_bytes(gzip.compress(path.read_bytes()))
        assert seen(read_mds, path)[0][0].text == "one"

    @pytest.mark.filterwarnings("ignore")  # what others' libraries warn of is theirs
    @pytest.mark.parametrize("compression", [None, "zstd:7", "gz", "bz2"])
    def test_shards_of_the_streaming_library_are_read(self, tmp_path, compression):
        streaming = pytest.importorskip("streaming")
        columns = {
            "text": "str",
            "id": "int",
            "typed": "ndarray:uint16",
            "loose": "ndarray",
            "raw": "bytes",
            "more": "json",
        }
        with streaming.MDSWriter(
            out=str(tmp_path), columns=columns, compression=compression, size_limit=2000
        ) as writer:
            for n in range(20):
                tokens = np.array(ids(f"ids {n}"), np.uint16)
                writer.write(
                    {
                        "text": f"text {n}",
                        "id": 100 + n,
                        "typed": tokens,
                        "loose": tokens.astype(np.int32),
                        "raw": tokens.astype(np.int64).tobytes(),
                        "more": {"a": [n]},
                    }
                )
        shards = sorted(tmp_path.glob("*.mds*"))
        assert len(shards) > 1
        found = {
            column: [one for path in shards for one in seen(read_mds, path, column)[0]]
            for column in ("text", "typed", "loose", "raw")
        }
        assert [(one.id, one.text) for one in found["text"]] == [
            (100 + n, f"text {n}") for n in range(20)
        ]
        assert (
            texts_of(found["typed"]) == texts_of(found["loose"]) == [f"ids {n}" for n in range(20)]
        )
        assert ids_of(found["raw"][3].tokens, 256).tolist() == ids("ids 3")


class TestTokenizers:
    def test_bytes_are_their_own_tokenizer(self):
        assert ByteTokenizer().decode(np.array([*ids("稳"), 300, 104])) == "稳h"

    @pytest.fixture
    def folder(self, tmp_path):
        library = pytest.importorskip("tokenizers")
        words = {"loss": 0, "falls": 1, "[END]": 2}
        tokenizer = library.Tokenizer(library.models.WordLevel(words, unk_token="[END]"))
        tokenizer.pre_tokenizer = library.pre_tokenizers.Whitespace()
        tokenizer.add_special_tokens(["[END]"])
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        return tmp_path

    def test_a_folder_or_a_file_of_hugging_face_decodes(self, folder):
        for where in (folder, folder / "tokenizer.json"):
            assert load_tokenizer(str(where)).decode(np.array([0, 1, 2])) == "loss falls"

    def test_ids_that_it_does_not_know_are_seen_as_damage(self, folder):
        found = load_tokenizer(str(folder)).decode(np.array([0, 77, -3, 1]))
        assert found == "loss\ufffd\ufffdfalls"

    def test_what_is_no_tokenizer_says_what_to_write(self, tmp_path):
        pytest.importorskip("tokenizers")
        with pytest.raises(SettingError, match=r"there is no .*nowhere"):
            load_tokenizer(str(tmp_path / "nowhere"))
        (tmp_path / "tokenizer.json").write_text(json.dumps({"a": 1}))
        with pytest.raises(SettingError, match="is no tokenizer"):
            load_tokenizer(str(tmp_path))

    def test_without_the_library_the_error_says_what_to_install(self, tmp_path, monkeypatch):
        def without(name):
            raise ModuleNotFoundError(name)

        (tmp_path / "tokenizer.json").write_text("{}")
        monkeypatch.setattr(importlib, "import_module", without)
        with pytest.raises(SettingError, match="pip install tokenizers"):
            load_tokenizer(str(tmp_path))

    @pytest.mark.parametrize("width", ["<i8", "<i4", "<u2"])
    def test_the_width_of_ids_in_plain_bytes_is_found(self, width):
        given = np.array([5, 40_000, 17], width)
        assert ids_of(given.tobytes(), 50_000).tolist() == given.tolist()

    def test_bytes_that_are_no_ids_at_any_width_are_none(self):
        assert ids_of(b"\xff" * 8, 200) is None
