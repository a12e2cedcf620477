import pytest

from tests.corpora.makers import BLANK, CLEAN, write_lines


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
