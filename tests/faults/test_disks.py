"""Full and read-only disks: training goes on where it can, and says what to do where it cannot."""

import subprocess

import pytest

from steadytrain import journal
from steadytrain.errors import JournalError, SettingError
from steadytrain.events import CheckpointFailed, RunEnded
from tests import rig


@pytest.fixture
def disk(tmp_path):
    """Mounts a small disk of its own; `disk(options)` returns its folder."""
    mounted = []

    def mount(options):
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode != 0:
            pytest.skip("this machine lets nobody mount a disk, so none can be filled")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_too_full_for_checkpoints_stops_no_training(disk):
    folder = disk("size=600k")
    (folder / "ballast").write_bytes(b"x" * 300_000)
    rig.train(folder / "r", steps=30)
    found = list(journal.read(folder / "r"))
    failed = [one for one in found if isinstance(one, CheckpointFailed)]
    assert failed
    assert isinstance(found[-1], RunEnded)


def test_a_disk_without_room_for_the_journal_says_so(disk):
    folder = disk("size=100k")
    (folder / "ballast").write_bytes(b"x" * 86_000)
    with pytest.raises((JournalError, SettingError, OSError), match=r"disk is full|No space left"):
        rig.train(folder / "r", steps=400, checkpoint_every=1000, panel=None)


def test_a_read_only_home_says_to_choose_another(disk):
    folder = disk("size=100k,ro")
    with pytest.raises((JournalError, SettingError), match=r"Choose a(nother)? home"):
        rig.train(folder / "r", steps=5)
