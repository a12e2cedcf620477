"""The copy in a real object store, over ways that fail as networks fail."""

import shutil
import sys
import threading
import time

import fsspec
import pytest

from steadytrain import control, journal, progress
from steadytrain.control import Word
from steadytrain.errors import CheckpointError, SettingError
from steadytrain.events import (
    AttemptBegan,
    CheckpointMirrored,
    CheckpointSaved,
    MirrorFailed,
    RemedyDone,
)
from steadytrain.train import desk, ranks
from steadytrain.train import mirror as room
from steadytrain.train.fetching import fetch_journal
from steadytrain.train.mirror import Mirror
from steadytrain.train.store import Store
from tests.buckets import KEY, SECRET, Bucket
from tests.train.mirroring import STOP, of, train


@pytest.fixture(scope="module")
def bucket():
    made = Bucket()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in made.environment.items():
            patch.setenv(name, value)
        yield made
    made.close()


@pytest.fixture(autouse=True)
def _no_fault(request):
    yield
    if "bucket" in request.fixturenames:
        made = request.getfixturevalue("bucket")
        made.faults, made.asked = [], []


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(tmp_path_factory.mktemp("whole") / "r", None)


@pytest.fixture(scope="module")
def first_life(bucket, tmp_path_factory):
    home = tmp_path_factory.mktemp("first") / "r"
    train(home, "s3://runs/first/r", stop_at=STOP)
    return home


@pytest.fixture
def url(first_life, request):
    """A copy of what the first life left there, for one test."""
    system = fsspec.filesystem("s3")
    name = f"runs/{abs(hash(request.node.name))}/r"
    for path in system.find("runs/first/r"):
        system.copy(path, name + path.removeprefix("runs/first/r"))
    return f"s3://{name}"


class TestS3:
    def test_a_host_without_the_disk_goes_on_from_there_to_the_same_end(self, url, tmp_path, whole):
        assert train(tmp_path / "r", url) == whole
        begun = of(tmp_path / "r", AttemptBegan)
        assert [one.checkpoint for one in begun] == [None, "a0001-s00000020"]
        last = of(tmp_path / "r", CheckpointMirrored)[-1]
        assert last.path == f"{url}/checkpoints/a0002-s00000040"

    def test_a_misspelt_bucket_is_refused_and_not_made(self, bucket, tmp_path, monkeypatch):
        monkeypatch.setattr(room, "FIRST_WAIT_SECONDS", 0.01)
        with pytest.raises(
            CheckpointError, match=r"cannot be written .*bucket does not exist.*no copy"
        ):
            train(tmp_path / "r", "s3://rnus/new/r")
        assert not journal.files(tmp_path / "r", "rank0")
        assert fsspec.filesystem("s3").ls("") == ["runs"]

    def test_keys_that_may_only_read_are_refused_before_a_run_begins(
        self, bucket, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(room, "FIRST_WAIT_SECONDS", 0.01)
        bucket.faults = [("PUT", "", "denied", 99)]
        with pytest.raises(CheckpointError, match=r"cannot be written .*as the test wants it"):
            train(tmp_path / "r", "s3://runs/read-only/r")

    def test_another_run_in_the_same_place_is_refused(self, url, tmp_path):
        train(tmp_path / "r", None, stop_at=1)
        with pytest.raises(CheckpointError, match=r"holds another run \('r'\).*Write another URL"):
            train(tmp_path / "r", url)

    def test_no_key_is_in_the_home_or_in_what_is_said(self, bucket, tmp_path, monkeypatch, capfd):
        monkeypatch.setattr(room, "TRIES", 1)
        bucket.faults = [("PUT", "/checkpoints/", "denied", 999)]
        train(tmp_path / "r", "s3://runs/secret/r", stop_at=11)
        assert of(tmp_path / "r", MirrorFailed)
        said = "".join(capfd.readouterr()).encode()
        written = b"".join(one.read_bytes() for one in tmp_path.rglob("*") if one.is_file())
        for secret in (KEY, SECRET):
            assert secret.encode() not in said + written


class TestFaultsOnTheWay:
    @pytest.mark.parametrize("what", ["error", "cut", "unheard"])
    @pytest.mark.parametrize("part", ["/journal/", "__0_0.distcp", "manifest.json", "run.json"])
    def test_what_fails_on_the_way_up_is_tried_again(
        self, bucket, first_life, tmp_path, what, part
    ):
        url, home = f"s3://runs/{what}{part.strip('/')}/r", tmp_path / "r"
        shutil.copytree(first_life, home)
        saved = next(one for one in of(home, CheckpointSaved) if one.step == 20)
        waited = []
        one = Mirror(url, home, keep=2, wait=waited.append)
        bucket.faults = [("PUT", part, what, 2 if what == "error" else 6)]
        one.begin(saved, healthy_until=0, allowed=lambda ref: True, refused=lambda name: False)
        one.wait()
        assert isinstance(one.poll()[0], CheckpointMirrored)
        assert not bucket.faults[0][-1]
        assert waited or what != "error"  # where the line broke s3fs has tried by itself
        again = Mirror(url, tmp_path / "again/r", keep=2)
        assert again.fetch_record()
        files = [journal.files(place, "rank0")[0] for place in (home, tmp_path / "again/r")]
        assert files[0].read_bytes() == files[1].read_bytes()
        assert again.fetch(tmp_path / "fetched", lambda ref: True).step == 20

    def test_what_never_arrives_is_told_and_training_goes_on(
        self, bucket, tmp_path, whole, monkeypatch
    ):
        monkeypatch.setattr(room, "FIRST_WAIT_SECONDS", 0.01)
        bucket.faults = [("PUT", "/checkpoints/", "error", 9999)]
        assert train(tmp_path / "r", "s3://runs/never/r") == whole
        failed = of(tmp_path / "r", MirrorFailed)
        assert len(failed) >= 4
        assert all("5 times in a row" in one.reason for one in failed)

    @pytest.mark.parametrize("what", ["short", "flipped"])
    @pytest.mark.parametrize("part", ["s00000020/__0_0.distcp", "s00000020/manifest.json"])
    def test_what_comes_down_otherwise_than_it_was_sent_gives_way(
        self, bucket, url, tmp_path, whole, what, part
    ):
        bucket.faults = [("GET", part, what, 99)]
        assert train(tmp_path / "r", url) == whole
        assert of(tmp_path / "r", AttemptBegan)[-1].checkpoint == "a0001-s00000010"

    def test_a_way_down_that_breaks_is_tried_again(self, bucket, url, tmp_path, monkeypatch):
        monkeypatch.setattr(room, "FIRST_WAIT_SECONDS", 0.01)
        bucket.faults = [("GET", "s00000020/__0_0.distcp", "torn", 8)]
        train(tmp_path / "r", url, stop_at=21)
        assert of(tmp_path / "r", AttemptBegan)[-1].checkpoint == "a0001-s00000020"

    def test_a_way_down_that_stays_broken_begins_nothing(self, bucket, url, tmp_path, monkeypatch):
        monkeypatch.setattr(room, "TRIES", 2)
        monkeypatch.setattr(room, "FIRST_WAIT_SECONDS", 0.01)
        bucket.faults = [("GET", "s00000020/__0_0.distcp", "torn", 999)]
        with pytest.raises(CheckpointError, match=r"cannot be read .*to begin anew would throw"):
            train(tmp_path / "r", url)
        bucket.faults = []
        train(tmp_path / "r", url, stop_at=21)
        assert of(tmp_path / "r", AttemptBegan)[-1].checkpoint == "a0001-s00000020"

    @pytest.mark.parametrize("what", ["short", "flipped"])
    def test_a_journal_that_comes_down_otherwise_ends_where_it_is_sound(
        self, bucket, url, first_life, tmp_path, what
    ):
        store = Store(url)
        ((name, pieces),) = store.pieces().items()
        bucket.faults = [("GET", f"{name}/{pieces[-1][0]}-", what, 99)]
        assert Mirror(url, tmp_path / "r", keep=2).fetch_record()
        (path,) = journal.files(tmp_path / "r", "rank0")
        (known,) = journal.files(first_life, "rank0")
        assert path.read_bytes() == known.read_bytes()[: pieces[-1][0]]

    def test_a_store_out_of_reach_is_not_taken_for_an_empty_one(
        self, bucket, url, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(room, "FIRST_WAIT_SECONDS", 0.01)
        bucket.faults = [("HEAD", "run.json", "error", 99)]
        with pytest.raises(CheckpointError, match="not known whether the run has begun"):
            train(tmp_path / "r", url)

    def test_a_slow_way_down_shows_that_it_moves(self, bucket, url, tmp_path, monkeypatch):
        monkeypatch.setattr(ranks, "ROUND_SECONDS", 0.1)
        monkeypatch.setattr(room, "ROUND_SECONDS", 0.1)
        bucket.faults = [
            ("GET", "s00000020/__0_0.distcp", "slow", 1),
            ("PUT", "/journal/", "slow", 9),
        ]
        seen, is_over = set(), threading.Event()

        def look():
            while not is_over.is_set():
                beat = progress.read_board(progress.board_path(tmp_path / "r", 0))
                if beat is not None:
                    seen.add((beat.phase, beat.beats))
                time.sleep(0.02)

        looker = threading.Thread(target=look)
        looker.start()
        train(tmp_path / "r", url, stop_at=21)
        is_over.set()
        looker.join()
        assert sum(phase == "download" for phase, _ in seen) >= 3
        assert sum(phase == "upload" for phase, _ in seen) >= 1


def test_what_was_decided_after_the_last_copy_holds_on_a_host_that_begins_there(
    tmp_path, monkeypatch
):
    """A person's order, which no judge could come to again: as the old home would go on."""
    monkeypatch.setattr(desk, "EVERY_SECONDS", 0.0)
    home, url = tmp_path / "first/r", f"file://{tmp_path}/store"
    order = Word(verb="order", plan="lr 0.5 hold 5 rewarm 5")
    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "finish", lambda self: None)  # killed
        train(home, url, stop_at=18, calls={13: lambda: control.send(home, order)})
    assert of(home, CheckpointMirrored)[-1].step == 10
    fresh = tmp_path / "second/r"
    assert train(fresh, url) == train(home, None)
    assert of(fresh, AttemptBegan)[-1].checkpoint == "a0001-s00000010"
    (done,) = of(fresh, RemedyDone)
    assert 13 <= done.step < 18


def test_a_stretch_that_arrived_unheard_and_again_as_part_of_a_longer_one_is_read_once(tmp_path):
    store = Store(f"file://{tmp_path}/store")
    body = b"".join(b'{"line":%d}' % number for number in range(9))
    for begin, end in ((0, 20), (0, 40), (30, 60), (60, len(body))):
        store.put_stretch("rank0.0.jsonl", begin, body[begin:end])
    fetch_journal(store, tmp_path / "r")
    assert (tmp_path / "r/journal/rank0.0.jsonl").read_bytes() == body


def test_the_end_waits_no_longer_than_something_moves(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "STALL_SECONDS", 0.5)
    monkeypatch.setattr(room, "ROUND_SECONDS", 0.1)
    one = Mirror("s3://runs/stalled/r", tmp_path / "r", keep=2)
    held = threading.Event()
    monkeypatch.setattr(one, "_bring_up", lambda sizes: held.wait(30))
    one._claim.is_held = True
    began = time.monotonic()
    one.finish()
    assert time.monotonic() - began < 10
    held.set()
    assert "nothing has gone up for" in one.poll()[0].reason


def test_what_is_missing_to_reach_a_store_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(SettingError, match=r"'s3://bucket/run' cannot be reached.*install s3fs"):
        Store("s3://bucket/run")


def test_a_password_in_a_url_is_shown_to_nobody():
    store = Store("memory://someone:pass-word@host/run")
    assert store.url == "memory://someone:***@host/run"
    assert store.blot("login of pass-word failed") == "login of *** failed"
    with pytest.raises(SettingError) as error:
        Store("nosuch://someone:pass-word@host/run")
    assert "pass-word" not in str(error.value)
