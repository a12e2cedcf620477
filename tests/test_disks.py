"""What a file system must do for a run: seen where it does, and where it does not."""

import errno
import fcntl
import os

import pytest

from steadytrain import cli, disks


def test_a_local_disk_does_all_of_it_and_nothing_is_left_there(tmp_path, capsys):
    assert cli.main(["doctor", str(tmp_path / "runs" / "r1")]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path} lies on " in said
    assert said.count(": yes") == 6
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_mapped_or_renamed_is_no_home(tmp_path, capsys, monkeypatch):
    def fail(*args, **options):
        raise OSError(errno.ENODEV, "No such device")

    monkeypatch.setattr(disks.mmap, "mmap", fail)
    assert cli.main(["doctor", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "a file mapped into memory is read by others: NO ([Errno 19] No such device)" in said
    assert "choose a home on a local disk, NFS or Lustre" in said


def test_without_locks_a_run_can_live_and_is_told_what_that_means(tmp_path, capsys, monkeypatch):
    def fail(*args):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", fail)
    assert disks.run(tmp_path) == 0
    assert "keeps two supervisors out of one home: start only one" in capsys.readouterr().out


def test_the_file_system_is_named_by_the_nearest_mount(tmp_path, monkeypatch):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"30 22 0:40 / {tmp_path} rw shared:1 - nfs4 server:/runs rw\n"
        f"31 22 0:41 / {tmp_path}-else rw - lustre x rw\n"
    )
    monkeypatch.setattr(disks, "MOUNTS", mounts)
    assert disks.kind_of(tmp_path) == "nfs4"
    assert disks.kind_of(tmp_path.parent) == "ext4"
    monkeypatch.setattr(disks, "MOUNTS", tmp_path / "none")
    assert disks.kind_of(tmp_path) == "unknown"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_somebody_else_is_refused_in_words(capsys):
    assert cli.main(["doctor", "/"]) == 2
    assert "Choose a folder of this user" in capsys.readouterr().err


def test_the_same_in_chinese(tmp_path, capsys):
    assert disks.run(tmp_path, "zh") == 0
    said = capsys.readouterr().out
    assert "\u6587\u4ef6\u53ef\u52a0\u9501\uff1a\u53ef\u4ee5" in said
    assert "yes" not in said
