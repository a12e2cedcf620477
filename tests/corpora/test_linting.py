"""`steadytrain lint` over whole corpora: every format, any number of workers, after a kill."""

import bz2
import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from steadytrain import cli
from steadytrain.corpora import SkipList, draws_left_out
from steadytrain.corpora.skips import Place
from steadytrain.errors import CorpusError, FeedError

CLEAN = (
    "The loss of a long run falls, and then it does not; somebody wakes at night and looks at it."
)
BLANK = "\n" * 200
GARBLED = "训练开始之前，从每个域里随机抽两百条序列，封存起来。".encode().decode("latin-1")


def records(texts, **fields):
    rows = [{"id": f"doc-{at}", "text": text, **fields} for at, text in enumerate(texts)]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


@pytest.fixture
def lint(capsys):
    def run(*arguments):
        status = cli.main(["lint", *map(str, arguments)])
        out, error = capsys.readouterr()
        return status, out, error

    return run


@pytest.fixture
def verdicts(lint):
    def run(*arguments):
        status, out, error = lint(*arguments, "--json")
        return status, [json.loads(line) for line in out.splitlines()], error

    return run


def write_megatron(folder, documents):
    ids = [np.frombuffer(text.encode(), np.uint8).astype("<u2") for text in documents]
    (folder / "set.bin").write_bytes(b"".join(one.tobytes() for one in ids))
    lengths = np.array([len(one) for one in ids], "<i4")
    pointers = np.concatenate([[0], np.cumsum(2 * lengths.astype(np.int64))[:-1]]).astype("<i8")
    edges = np.arange(len(ids) + 1, dtype="<i8")
    head = struct.pack("<9sQBQQ", b"MMIDIDX\x00\x00", 1, 8, len(ids), len(edges))
    (folder / "set.idx").write_bytes(
        head + lengths.tobytes() + pointers.tobytes() + edges.tobytes()
    )


def write_mds(folder, documents):
    columns = {
        "version": 2, "format": "mds", "hashes": [], "size_limit": None, "compression": None,
        "column_names": ["text"], "column_encodings": ["str"], "column_sizes": [None],
    }  # fmt: skip
    words = json.dumps(columns, sort_keys=True).encode()
    samples = [struct.pack("<I", len(one.encode())) + one.encode() for one in documents]
    first = 4 + 4 * (len(samples) + 1) + len(words)
    places = np.cumsum([first, *map(len, samples)]).astype("<u4")
    raw = struct.pack("<I", len(samples)) + places.tobytes() + words + b"".join(samples)
    (folder / "shard.00000.mds").write_bytes(raw)
    shard = columns | {
        "raw_data": {"basename": "shard.00000.mds", "bytes": len(raw), "hashes": {}},
        "zip_data": None, "samples": len(samples),
    }  # fmt: skip
    (folder / "index.json").write_text(json.dumps({"version": 2, "shards": [shard]}))


def test_a_line_per_document_with_its_own_id_and_domain(verdicts, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(records([CLEAN, BLANK], domain="en"))
    status, found, _ = verdicts(path)
    assert status == 1
    assert [one["id"] for one in found] == ["doc-0", "doc-1"]
    assert set(found[0]) == {
        "id", "source", "domain", "verdict", "class", "confidence", "offsets", "evidence",
    }  # fmt: skip
    assert found[0]["verdict"] == "clean"
    assert found[0]["class"] is None
    assert (found[1]["verdict"], found[1]["class"], found[1]["domain"]) == (
        "corrupt",
        "blank",
        "en",
    )
    assert found[1]["source"] == f"{path}:2"


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.jsonl", bytes),
        ("a.jsonl.gz", gzip.compress),
        ("a.jsonl.bz2", bz2.compress),
        ("a.jsonl.zst", None),
    ],
)
def test_json_lines_are_read_plain_and_compressed(verdicts, tmp_path, name, pack):
    if pack is None:
        pack = pytest.importorskip("zstandard").ZstdCompressor().compress
    (tmp_path / name).write_bytes(pack(records([CLEAN, GARBLED])))
    status, found, _ = verdicts(tmp_path)
    assert status == 1
    assert [one["class"] for one in found] == [None, "garbled"]


def test_a_text_file_is_one_document(verdicts, tmp_path):
    (tmp_path / "a.txt").write_text(CLEAN)
    (tmp_path / "b.md").write_text(BLANK)
    status, found, _ = verdicts(tmp_path)
    assert [(Path(one["source"]).name, one["class"]) for one in found] == [
        ("a.txt", None),
        ("b.md", "blank"),
    ]


def test_a_parquet_file_is_read_by_its_text_column(verdicts, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"content": [CLEAN, BLANK], "id": [7, 8]})
    parquet.write_table(table, tmp_path / "a.parquet")
    status, found, _ = verdicts(tmp_path / "a.parquet", "--column", "content")
    assert [(one["id"], one["class"]) for one in found] == [(7, None), (8, "blank")]
    status, _, error = verdicts(tmp_path / "a.parquet")
    assert status == 2
    assert "content" in error


def test_a_megatron_set_of_bytes_is_read_document_by_document(verdicts, tmp_path):
    write_megatron(tmp_path, [CLEAN, BLANK, CLEAN])
    status, found, _ = verdicts(tmp_path / "set.idx", "--tokenizer", "bytes")
    assert status == 1
    assert [one["class"] for one in found] == [None, "blank", None]
    assert found[1]["source"].endswith(":1")


def test_a_mosaic_shard_is_read_sample_by_sample(verdicts, tmp_path):
    write_mds(tmp_path, [CLEAN, GARBLED])
    status, found, _ = verdicts(tmp_path)
    assert status == 1
    assert [one["class"] for one in found] == [None, "garbled"]


def test_the_real_writer_of_mosaic_shards_is_read_as_well(verdicts, tmp_path):
    streaming = pytest.importorskip("streaming")
    with streaming.MDSWriter(out=str(tmp_path), columns={"text": "str"}, compression="zstd") as out:
        out.write({"text": CLEAN})
        out.write({"text": BLANK})
    assert [one["class"] for one in verdicts(tmp_path)[1]] == [None, "blank"]


def many(folder, count=400):
    texts = [BLANK if at % 37 == 5 else f"{CLEAN} Number {at}." for at in range(count)]
    (folder / "a.jsonl").write_bytes(records(texts[: count // 2], domain="en"))
    (folder / "b.jsonl").write_bytes(records(texts[count // 2 :], domain="en"))


def test_any_number_of_workers_gives_the_same_lines_in_the_input_s_order(verdicts, tmp_path):
    many(tmp_path)
    assert verdicts(tmp_path, "--workers", 1)[1] == verdicts(tmp_path, "--workers", 2)[1]


@pytest.mark.parametrize("cut", [0.0, 0.3, 0.9])
def test_a_lint_that_was_killed_goes_on_and_leaves_the_same_files(lint, tmp_path, cut):
    many(tmp_path)
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    lint(tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--out", whole)
    lint(tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--out", torn)
    progress = json.loads((torn / "progress.json").read_text())
    progress["done"] = False
    (torn / "progress.json").write_text(json.dumps(progress))
    for name in ("verdicts.jsonl", "skips.jsonl"):  # what a kill leaves behind the vouched part
        with (torn / name).open("ab") as file:
            file.write(b'{"half a li'[: int(12 * cut)])
    status, _, _ = lint(tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--out", torn)
    assert status == 1
    for name in ("verdicts.jsonl", "skips.jsonl"):
        assert (torn / name).read_bytes() == (whole / name).read_bytes()


def test_a_corpus_that_changed_is_refused_not_mixed(capsys, lint, tmp_path):
    many(tmp_path)
    lint(tmp_path / "a.jsonl", "--out", tmp_path / "out")
    (tmp_path / "a.jsonl").write_bytes(records([CLEAN]))
    status, _, error = lint(tmp_path / "a.jsonl", "--out", tmp_path / "out")
    assert status == 2
    assert "a.jsonl" in error


def test_the_skip_list_tells_a_feed_what_to_leave_out(lint, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(records([CLEAN, BLANK, CLEAN]))
    lint(path, "--out", tmp_path / "out")
    skips = SkipList.load(tmp_path / "out")
    assert skips.excludes(str(path), "doc-1")
    assert not skips.excludes(str(path), "doc-2")
    assert skips.numbers(str(path)) == (2,)
    places = [
        Place(first=10 * at, end=10 * at + 10, source=str(path), document=f"doc-{at}")
        for at in range(3)
    ]
    assert draws_left_out(skips, places) == ((10, 20),)


def test_a_list_whose_lint_has_not_ended_is_refused(lint, tmp_path):
    (tmp_path / "a.jsonl").write_bytes(records([BLANK]))
    lint(tmp_path / "a.jsonl", "--out", tmp_path / "out")
    path = tmp_path / "out" / "progress.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"done": False}))
    with pytest.raises(FeedError, match="has not ended"):
        SkipList.load(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("torn.jsonl.gz", gzip.compress(records([CLEAN] * 50))[:60]),
        ("set.idx", b"MMIDIDX\x00\x00" + b"\x01"),
        ("shard.00000.mds", b"\xff\xff\xff\x7f broken"),
        ("a.parquet", b"PAR1 broken PAR1"),
        ("odd.jsonl", b'{"text": 5}\n{"no": "text"}\nnot json\n'),
    ],
    ids=["gzip", "Megatron", "MDS", "Parquet", "JSON Lines"],
)
def test_a_broken_file_is_named_and_the_others_are_read(verdicts, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "whole.jsonl").write_bytes(records([CLEAN]))
    status, found, error = verdicts(tmp_path / name, tmp_path / "whole.jsonl")
    assert status == 2
    assert name in error
    assert any(one["source"].endswith("whole.jsonl:1") for one in found)


def test_text_that_is_not_utf8_is_linted_and_remarked(verdicts, tmp_path):
    (tmp_path / "a.txt").write_bytes("训练开始之前，随机抽样。".encode("gbk") * 8)
    _, found, error = verdicts(tmp_path / "a.txt")
    assert found[0]["class"] == "garbled"
    assert "not UTF-8" in error


@pytest.mark.parametrize("path", ["nothing-here.jsonl", "empty"])
def test_nothing_to_read_is_an_error_that_says_so(lint, tmp_path, path):
    (tmp_path / "empty").mkdir()
    status, _, error = lint(tmp_path / path)
    assert status == 2
    assert path in error


def test_the_report_shows_classes_sources_and_hidden_characters(lint, tmp_path):
    (tmp_path / "a.jsonl").write_bytes(records([CLEAN, "\x00\u202e\x01\x02 abc" * 40]))
    status, out, _ = lint(tmp_path / "a.jsonl")
    assert status == 1
    assert "garbled" in out
    assert "a.jsonl" in out
    assert "\u202e" not in out
    assert "\x00" not in out


def test_workers_below_one_are_refused(lint, tmp_path):
    (tmp_path / "a.txt").write_text(CLEAN)
    status, _, error = lint(tmp_path / "a.txt", "--workers", 0)
    assert status == 2
    assert "--workers" in error


def test_errors_of_a_corpus_are_errors_of_the_package():
    assert issubclass(CorpusError, Exception)
