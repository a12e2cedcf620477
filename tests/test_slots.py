"""Slot files: every flipped bit refused, no hole that could kill, no one else's folder."""

import os

import pytest

from steadytrain import slots
from steadytrain.errors import CheckpointError
from steadytrain.slots import Folder, Slot, folder_of, is_wanted

HEADER = b'{"attempt": 1, "step": 7, "draw": 28}'


@pytest.fixture
def slot(tmp_path):
    made = Slot.create(tmp_path / "r0of1-0.slot", header_bytes=64, payload_bytes=100)
    made.memory[made.payload : made.payload + 100] = bytes(range(100))
    made.seal(HEADER)
    return made


def _is_refused(path):
    try:
        opened = Slot.open(path)
        if not opened.is_sealed:
            return True
        opened.header()
        opened.inspect()
    except CheckpointError:
        return True
    return False


class TestSeal:
    def test_what_was_sealed_is_read_by_another_process(self, slot):
        again = Slot.open(slot.path)
        again.inspect()
        assert again.header() == {"attempt": 1, "step": 7, "draw": 28}
        assert again.memory[again.payload :][:100] == bytes(range(100))

    def test_every_flipped_bit_is_refused(self, slot):
        raw = bytearray(slot.path.read_bytes())
        with open(slot.path, "r+b", buffering=0) as file:
            for bit in range(8 * len(raw)):
                at = bit // 8
                flipped = raw[at] ^ (1 << bit % 8)
                os.pwrite(file.fileno(), bytes([flipped]), at)
                assert _is_refused(slot.path), f"bit {bit}"
                os.pwrite(file.fileno(), bytes([raw[at]]), at)
        Slot.open(slot.path).inspect()

    @pytest.mark.parametrize("size", [0, 1, 40, 4095, 4096, 4195, 4197, 8192])
    def test_another_length_is_refused(self, slot, size):
        os.truncate(slot.path, size)
        assert _is_refused(slot.path)

    def test_a_broken_seal_is_no_state(self, slot):
        slot.break_seal()
        assert not Slot.open(slot.path).is_sealed

    def test_a_header_that_changes_its_length_leaves_no_trace_of_the_longer_one(self, slot):
        slot.seal(HEADER + b" " * 20)
        slot.break_seal()
        slot.seal(HEADER)
        Slot.open(slot.path).inspect()


class TestRoom:
    def test_a_slot_is_allocated_to_its_end(self, slot):
        found = slot.path.stat()
        assert found.st_blocks * 512 >= found.st_size

    def test_a_full_folder_leaves_nothing_behind(self, tmp_path, monkeypatch):
        def fail(*args):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", fail)
        with pytest.raises(OSError, match="No space left"):
            Slot.create(tmp_path / "r0of1-0.slot", header_bytes=64, payload_bytes=100)
        assert list(tmp_path.iterdir()) == []

    def test_what_is_left_to_others_is_counted(self, tmp_path, monkeypatch):
        folder = make(tmp_path)
        room = os.statvfs(tmp_path)
        free = room.f_bavail * room.f_frsize
        assert folder.lacks_room(1000, sharing=2) is None or free < 1e9
        assert "are left to others" in folder.lacks_room(free, sharing=1)
        assert "are needed" in folder.lacks_room(free // 2, sharing=2)


def make(root, *, rank=0, world=1, home="runs/r1"):
    path = root / "steadytrain-1"
    return Folder(path, home=home, rank=rank, world=world, fingerprint="f")


class TestFolder:
    def test_a_rank_sees_its_own_files_of_its_own_number_of_ranks(self, tmp_path):
        folder = make(tmp_path, rank=1, world=2)
        for name in ("r1of2-0.slot", "r0of2-1.slot", "r1of4-2.slot", "notes", "r1of2-0.slot.tmp"):
            (folder.path / name).touch()
        assert [one.name for one in folder.mine()] == ["r1of2-0.slot"]
        assert [(path.name, *of) for path, *of in folder.of_others()] == [("r1of4-2.slot", 1, 4)]
        assert folder.new_path().name == "r1of2-1.slot"
        folder.remove_others()
        assert not (folder.path / "r1of4-2.slot").exists()
        folder.leave()
        assert sorted(one.name for one in folder.path.iterdir()) == [
            "notes",
            "r0of2-1.slot",
            "r1of2-0.slot.tmp",
        ]

    def test_the_last_to_leave_removes_it(self, tmp_path):
        folder = make(tmp_path)
        folder.new_path().touch()
        folder.leave()
        assert not folder.path.exists()

    def test_nobody_else_may_read_it(self, tmp_path):
        assert make(tmp_path).path.stat().st_mode & 0o777 == 0o700

    def test_somebody_elses_folder_is_not_used(self, tmp_path, monkeypatch):
        make(tmp_path)
        monkeypatch.setattr(os, "getuid", lambda: 12345)
        with pytest.raises(PermissionError, match="another account"):
            make(tmp_path)

    def test_a_link_is_not_followed(self, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "steadytrain-1").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(PermissionError):
            make(tmp_path)


class TestWhere:
    def test_each_home_has_its_own_however_it_is_spelled(self, tmp_path):
        (tmp_path / "a").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "a")
        assert folder_of(tmp_path / "a", {}) == folder_of(tmp_path / "link", {})
        assert folder_of(tmp_path / "a", {}) == folder_of(tmp_path / "b" / ".." / "a", {})
        assert folder_of(tmp_path / "a", {}) != folder_of(tmp_path / "b", {})
        assert folder_of(tmp_path / "a", {}).parent.as_posix() == slots.SHARED_MEMORY

    @pytest.mark.parametrize(
        ("environ", "wanted"),
        [
            ({}, False),
            ({"STEADYTRAIN_GENERATION": "0"}, True),
            ({"STEADYTRAIN_GENERATION": "0", "STEADYTRAIN_SHM": "off"}, False),
            ({"STEADYTRAIN_SHM": "/scratch"}, True),
        ],
    )
    def test_it_is_used_under_a_supervisor_or_on_request(self, environ, wanted):
        assert is_wanted(environ) is wanted

    def test_another_folder_can_be_named(self, tmp_path):
        found = folder_of(tmp_path, {"STEADYTRAIN_SHM": "/scratch"})
        assert found.parent.as_posix() == "/scratch"
