"""The copy in an object store: complete or absent, one run's only, enough for a host without disk."""

import json
import shutil

import fsspec
import pytest

from steadytrain import journal
from steadytrain.errors import CheckpointError, SettingError
from steadytrain.events import (
    AttemptBegan,
    CheckpointMirrored,
    CheckpointRefused,
    MirrorFailed,
    RunEnded,
)
from steadytrain.train import mirror as room
from steadytrain.train.mirror import Mirror
from tests.train.mirroring import STOP, of, train


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(tmp_path_factory.mktemp("whole") / "r", "memory://whole/r")


@pytest.fixture(scope="module")
def first_life(tmp_path_factory):
    """A run that stopped, with its copy."""
    place = tmp_path_factory.mktemp("first")
    train(place / "r", f"file://{place}/store", stop_at=STOP)
    return place


@pytest.fixture
def place(first_life, tmp_path):
    """A copy of both for one test; the store is `store`, the home `r`."""
    shutil.copytree(first_life / "store", tmp_path / "store")
    shutil.copytree(first_life / "r", tmp_path / "r")
    return tmp_path


def _mirror(place, home="r", **changes):
    return Mirror(f"file://{place}/store", place / home, keep=2, **changes)


def _flip(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 8
    path.write_bytes(raw)


class TestAHostWithoutTheDisk:
    def test_it_goes_on_from_the_newest_and_ends_as_the_run_that_was_never_stopped(
        self, place, whole
    ):
        shutil.rmtree(place / "r")
        assert train(place / "r", f"file://{place}/store") == whole
        assert [one.checkpoint for one in of(place / "r", AttemptBegan)] == [
            None,
            "a0001-s00000020",
        ]
        shutil.rmtree(place / "r")
        assert _mirror(place).fetch_record()
        assert of(place / "r", RunEnded)  # the journal is there to its end

    def test_what_is_damaged_there_gives_way_to_an_older_one(self, place, whole):
        shutil.rmtree(place / "r")
        _flip(place / "store/checkpoints/a0001-s00000020/__0_0.distcp")
        assert train(place / "r", f"file://{place}/store") == whole
        assert of(place / "r", AttemptBegan)[-1].checkpoint == "a0001-s00000010"

    def test_a_home_whose_own_are_damaged_is_mended(self, place, whole):
        for path in (place / "r/checkpoints").iterdir():
            _flip(path / "__0_0.distcp")
        assert train(place / "r", f"file://{place}/store") == whole
        assert len(of(place / "r", CheckpointRefused)) >= 2
        assert of(place / "r", AttemptBegan)[-1].checkpoint == "a0001-s00000020"

    def test_a_damaged_stretch_of_the_journal_ends_it(self, place):
        pieces = sorted(
            (place / "store/journal").glob("*/*"),
            key=lambda one: int(one.name.split("-")[0]),
        )
        _flip(pieces[-1])
        shutil.rmtree(place / "r")
        assert _mirror(place).fetch_record()
        (path,) = journal.files(place / "r", "rank0")
        assert path.stat().st_size == int(pieces[-1].name.split("-")[0])

    def test_what_lacks_its_manifest_is_none(self, place):
        (place / "store/checkpoints/a0001-s00000020/manifest.json").unlink()
        found = _mirror(place).fetch(place / "fetched", lambda ref: True)
        assert found.step == 10

    def test_a_store_that_cannot_be_reached_is_not_taken_for_an_empty_one(self, place, monkeypatch):
        shutil.rmtree(place / "r")
        one = _mirror(place)

        def fail(path):
            raise RuntimeError("no route to host")

        monkeypatch.setattr(one._store._system, "exists", fail)
        with pytest.raises(
            CheckpointError, match=r"no route to host.*not known whether the run has begun"
        ):
            one.fetch_record()


class TestOneRunOnly:
    def test_another_name_is_refused(self, place):
        with pytest.raises(
            CheckpointError, match=r"holds the run 'r', this home is 'other'.*Write another URL"
        ):
            _mirror(place, "other").fetch_record()

    def test_another_run_of_the_same_name_is_refused_before_training(self, place):
        shutil.rmtree(place / "r")
        train(place / "r", None, stop_at=1)
        with pytest.raises(CheckpointError, match=r"holds another run \('r'\).*Write another URL"):
            train(place / "r", f"file://{place}/store")

    def test_a_run_that_has_gone_on_elsewhere_is_refused(self, place):
        (place / "elsewhere").mkdir()
        train(place / "elsewhere/r", f"file://{place}/store", stop_at=31)
        with pytest.raises(CheckpointError, match=r"gone on from .* in another home"):
            _mirror(place).claim()

    def test_who_is_overtaken_while_it_runs_stops_copying_and_says_so(self, place):
        one = _mirror(place)
        one.claim()
        run = json.loads((place / "store/run.json").read_text())
        (place / "store/run.json").write_text(json.dumps(run | {"life": "another"}))
        assert "another process writes to" in _copy(one, place)[0].reason
        assert _copy(one, place) == []  # once is enough


def _copy(one, place):
    """The second checkpoint again, which the store is made to lack."""
    shutil.rmtree(place / "store/checkpoints/a0001-s00000020", ignore_errors=True)
    saved = [
        event
        for event in journal.read(place / "r")
        if getattr(event, "path", "").endswith("s00000020")
    ]
    one.begin(saved[0], healthy_until=0, allowed=lambda ref: True, refused=lambda name: False)
    one.wait()
    return one.poll()


class TestFaults:
    @pytest.mark.parametrize("times", [1, 100])
    @pytest.mark.parametrize("what", ["error", "truncated"])
    def test_a_failed_upload_is_tried_again_and_told_in_the_end(
        self, place, what, times, monkeypatch
    ):
        waited = []
        one = _mirror(place, wait=waited.append)
        copy, calls = one._store._copy, []

        def fail(source, target):
            if source.name.endswith(".metadata") and len(calls) < times:
                calls.append(target)
                if what == "error":
                    raise RuntimeError("connection reset")
                target.write(b"half")
            else:
                copy(source, target)

        monkeypatch.setattr(one._store, "_copy", fail)
        (event,) = _copy(one, place)
        if times == 1:
            assert isinstance(event, CheckpointMirrored)
            assert waited == [1.0]
            return
        assert isinstance(event, MirrorFailed)
        assert "5 times in a row; it is tried again with the next checkpoint" in event.reason
        assert ("connection reset" if what == "error" else "4 of") in event.reason
        assert waited == [1.0, 2.0, 4.0, 8.0]
        assert not (place / "store/checkpoints/a0001-s00000020/manifest.json").exists()
        monkeypatch.setattr(one._store, "_copy", copy)
        assert isinstance(_copy(one, place)[0], CheckpointMirrored)

    def test_training_goes_on_when_nothing_can_be_written_there(self, tmp_path, whole, monkeypatch):
        monkeypatch.setattr(room, "TRIES", 1)
        store = type(fsspec.filesystem("memory"))
        pipe = store.pipe_file

        def fail(system, path, *args, **options):
            if not path.endswith("/probe"):
                raise PermissionError("access denied")
            pipe(system, path, *args, **options)

        monkeypatch.setattr(store, "pipe_file", fail)
        assert train(tmp_path / "r", "memory://denied/r") == whole
        reasons = [one.reason for one in of(tmp_path / "r", MirrorFailed)]
        assert len(reasons) >= 4
        assert all("access denied" in one for one in reasons)


def test_it_keeps_the_newest_and_the_newest_healthy_one(place):
    one = _mirror(place)
    saved = [
        event
        for event in journal.read(place / "r")
        if getattr(event, "path", "").endswith("s00000020")
    ]
    for step in (1, 2, 3):
        shutil.copytree(
            place / "store/checkpoints/a0001-s00000010",
            place / f"store/checkpoints/a0001-s{step:08d}",
        )
    one.begin(
        saved[0], healthy_until=3, allowed=lambda ref: True, refused=lambda name: name.endswith("3")
    )
    one.wait()
    assert isinstance(one.poll()[0], CheckpointMirrored)
    left = {path.name for path in (place / "store/checkpoints").iterdir()}
    assert left == {"a0001-s00000020", "a0001-s00000010", "a0001-s00000002"}


@pytest.mark.parametrize("url", ["nosuch://bucket/run", "hdfs-but-not://x"])
def test_a_url_that_nothing_can_reach_is_refused(tmp_path, url):
    with pytest.raises(SettingError, match=r"cannot be reached.*s3://bucket/run"):
        Mirror(url, tmp_path, keep=1)


def test_what_is_on_record_names_the_copy(first_life):
    # The one that waits gives way, so not each is copied; the newest is.
    last = of(first_life / "r", CheckpointMirrored)[-1]
    assert last.path == f"file://{first_life}/store/checkpoints/a0001-s00000020"
    assert last.bytes > 1000
