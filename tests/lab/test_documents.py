import builtins
import json
import sys
import time
from importlib import resources
from types import SimpleNamespace

import pytest

from steadytrain.errors import FeedError, SettingError
from steadytrain.lab.documents import HUB_BYTES, read_domain


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


class TestDefaults:
    def test_code_is_the_standard_library_of_this_python(self):
        documents = read_domain("code", None)
        assert 1_000_000 < sum(len(d.text) for d in documents) <= 3_000_000
        assert all(d.source.startswith("python/lib/") for d in documents)
        assert not [
            d.source for d in documents if "/test/" in d.source or "site-packages" in d.source
        ]

    def test_en_is_its_documentation(self):
        documents = read_domain("en", None)
        assert 500_000 < sum(len(d.text) for d in documents) <= 2_000_000
        assert "python/lib/pydoc_data/topics.py#assert" in {d.source for d in documents}

    def test_no_file_serves_both_code_and_en(self):
        code = {d.source for d in read_domain("code/python", None)}
        en = {d.source.split("#")[0] for d in read_domain("en", None)}
        assert not code & en

    @pytest.mark.skipif(
        not resources.files("steadytrain.lab").joinpath("handbook").is_dir(),
        reason="the handbook is not written yet",
    )
    def test_zh_is_the_handbook(self):
        documents = read_domain("zh", None)
        assert documents[0].source.startswith("steadytrain/lab/handbook/")
        assert sum(len(d.text) for d in documents) > 50_000

    def test_a_domain_without_a_text_of_its_own_says_so(self):
        with pytest.raises(SettingError, match="'fr' has no text of its own"):
            read_domain("fr", None)

    @pytest.mark.parametrize("name", ["", "zh/", "/zh", "zh//knowledge"])
    def test_a_name_with_an_empty_part_is_refused(self, name):
        with pytest.raises(SettingError, match="empty part"):
            read_domain(name, None)


class TestFiles:
    def test_a_folder_is_read_to_its_depth_in_the_order_of_names(self, tmp_path):
        write(tmp_path / "b.txt", "two")
        write(tmp_path / "a" / "z.md", "one")
        write(tmp_path / "c.jsonl", '{"text": "three"}\n')
        write(tmp_path / ".git" / "config", b"\0")
        assert [d.text for d in read_domain("x", str(tmp_path))] == [b"one", b"two", b"three"]

    def test_a_source_begins_with_the_path_that_the_user_wrote(self, tmp_path, monkeypatch):
        write(tmp_path / "texts" / "a.txt", "one")
        monkeypatch.chdir(tmp_path)
        assert read_domain("x", "texts/")[0].source == "texts/a.txt"
        assert read_domain("x", "texts/a.txt")[0].source == "texts/a.txt"

    def test_a_json_line_keeps_its_own_names_in_the_source(self, tmp_path):
        rows = [
            {"id": 7, "domain": "zh", "source": "book", "text": "一", "part": {"ignored": [1]}},
            {"text": "二"},
        ]
        path = write(tmp_path / "a.jsonl", "\n\n".join(json.dumps(row) for row in rows))
        one, two = read_domain("x", path)
        assert (one.source, one.text) == (f"{path}#zh|7|book", "一".encode())
        assert two.source == f"{path}#row 3"

    def test_five_megabytes_of_json_lines_take_less_than_a_second(self, tmp_path):
        line = json.dumps({"text": "稳定训练" * 400, "id": "a"}, ensure_ascii=False)
        path = write(tmp_path / "a.jsonl", (line + "\n") * 1050)
        began = time.perf_counter()
        documents = read_domain("x", path)
        assert sum(len(d.text) for d in documents) > 5_000_000
        assert time.perf_counter() - began < 1.0


class TestWhatIsNotText:
    def test_a_missing_path_is_named(self, tmp_path):
        with pytest.raises(FeedError, match="nowhere does not exist"):
            read_domain("x", str(tmp_path / "nowhere"))

    def test_an_empty_file_and_an_empty_folder_are_named(self, tmp_path):
        path = write(tmp_path / "a.txt", "")
        with pytest.raises(FeedError, match=r"a\.txt holds no text"):
            read_domain("x", path)
        with pytest.raises(FeedError, match="holds no text"):
            read_domain("x", str(tmp_path))

    def test_a_nul_byte_is_named_with_its_offset(self, tmp_path):
        path = write(tmp_path / "a.bin", b"abc\0def")
        with pytest.raises(FeedError, match=r"a\.bin has a NUL byte at offset 3"):
            read_domain("x", path)

    def test_what_is_not_utf8_is_named_with_its_offset(self, tmp_path):
        path = write(tmp_path / "a.txt", b"ab" + "中文".encode("gb18030"))
        with pytest.raises(FeedError, match=r"byte 0xd6, which is not UTF-8, at offset 2.*iconv"):
            read_domain("x", path)

    @pytest.mark.parametrize("line", ["{", '{"body": "x"}', '{"text": 3}', b'{"text": "\xff"}'])
    def test_a_line_without_a_text_is_named_with_its_number(self, tmp_path, line):
        line = line if isinstance(line, bytes) else line.encode()
        path = write(tmp_path / "a.jsonl", b'{"text": "x"}\n' + line)
        with pytest.raises(FeedError, match="line 2, at offset 14"):
            read_domain("x", path)


class TestTables:
    def test_a_parquet_file_is_read_by_its_column_text(self, tmp_path):
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        path = str(tmp_path / "a.parquet")
        parquet.write_table(pyarrow.table({"text": ["one", None, "three"], "id": [1, 2, 3]}), path)
        found = [(d.source, d.text) for d in read_domain("x", path)]
        assert found == [(f"{path}#1", b"one"), (f"{path}#3", b"three")]

    def test_a_parquet_file_without_a_column_text_or_damaged_is_named(self, tmp_path):
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.table({"body": ["one"]}), tmp_path / "a.parquet")
        with pytest.raises(FeedError, match="no column 'text' but body"):
            read_domain("x", str(tmp_path / "a.parquet"))
        damaged = write(tmp_path / "b.parquet", "PAR1 but not really")
        with pytest.raises(FeedError, match="no readable Parquet file"):
            read_domain("x", damaged)

    def test_without_pyarrow_the_error_says_what_to_install(self, tmp_path, monkeypatch):
        path = write(tmp_path / "a.parquet", b"PAR1")
        true_import = builtins.__import__

        def import_without_pyarrow(name, *args, **kwargs):
            if name.startswith("pyarrow"):
                raise ModuleNotFoundError(name)
            return true_import(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", import_without_pyarrow)
        with pytest.raises(FeedError, match="pip install pyarrow"):
            read_domain("x", path)


class TestHub:
    def test_a_data_set_is_streamed_up_to_the_limit(self, monkeypatch):
        asked = []

        def load_dataset(name, config, *, split, streaming):
            asked.append((name, config, split, streaming))
            return ({"text": "x" * 1_000_000, "id": i} for i in range(1000))

        monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
        documents = read_domain("x", "hf:owner/name:zh")
        assert asked == [("owner/name", "zh", "train", True)]
        assert documents[1].source == "hf:owner/name:zh#1"
        assert sum(len(d.text) for d in documents) == HUB_BYTES

    def test_no_network_and_no_column_text_are_told_apart(self, monkeypatch):
        def no_network(*_, **__):
            raise ConnectionError("offline")

        monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=no_network))
        with pytest.raises(FeedError, match="cannot be streamed"):
            read_domain("x", "hf:name")
        rows = SimpleNamespace(load_dataset=lambda *_, **__: iter([{"body": "x"}]))
        monkeypatch.setitem(sys.modules, "datasets", rows)
        with pytest.raises(FeedError, match="no column 'text' but body"):
            read_domain("x", "hf:name")

    def test_without_datasets_the_error_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "datasets", None)
        with pytest.raises(FeedError, match="pip install datasets"):
            read_domain("x", "hf:name")
