"""What every reader promises, over the golden logs of all tools: one reader knows each file."""

from pathlib import Path

import pytest

from steadytrain.errors import LogError
from steadytrain.readers.discovery import HEAD_BYTES, READERS, discover, recognize

LOGS = sorted(
    path
    for path in (Path(__file__).parents[1] / "golden" / "logs").rglob("*")
    if path.is_file() and path.suffix != ".py"
)


@pytest.mark.parametrize("reader", READERS, ids=lambda one: one.format)
class TestEveryReader:
    def test_has_a_name_of_its_own(self, reader):
        assert reader.format
        assert [one.format for one in READERS].count(reader.format) == 1

    def test_knows_nothing_of_noise(self, reader, tmp_path):
        for noise in (b"", b"\x00" * 300, bytes(range(256)) * 8, b"plain words\n" * 30):
            path = tmp_path / "noise"
            path.write_bytes(noise)
            assert not reader.recognizes(path, noise)

    def test_says_what_is_wrong_with_a_file_cut_anywhere(self, reader, tmp_path):
        for path in LOGS:
            if recognize(path) is not reader:
                continue
            whole = path.read_bytes()
            cut = tmp_path / path.name
            for end in range(1, len(whole), max(1, len(whole) // 12)):
                cut.write_bytes(whole[:end])
                try:
                    for run in reader.read(cut):
                        assert all(len(s.steps) == len(s.values) for s in run.series.values())
                except LogError:
                    continue


def test_no_reader_takes_the_file_of_another():
    for path in LOGS:
        head = path.read_bytes()[:HEAD_BYTES]
        takers = [one.format for one in READERS if head and one.recognizes(path, head)]
        # JSON Lines may be asked after tools that write JSON; the order settles it.
        assert len(takers) <= 2, (path, takers)


def test_all_golden_logs_are_found_together(tmp_path):
    found = discover([str(Path(__file__).parents[1] / "golden" / "logs")])
    assert len({run.format for run in found.runs}) >= 7
    names = [(run.format, run.name) for run in found.runs]
    assert len(names) == len(set(names))
