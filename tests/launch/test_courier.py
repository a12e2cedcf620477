"""Couriers of two or three hosts, and a line between them that cuts, changes and delays."""

import contextlib
import json
import os
import socket
import threading
import time

import pytest

from steadytrain.launch import parcels
from steadytrain.launch.courier import Courier
from steadytrain.launch.letters import Member, Word
from steadytrain.launch.parcels import Question, connect, secret_of
from steadytrain.launch.stock import Stock
from steadytrain.slots import NO_COPIES, Slot, hold, make_private

SECRET = bytes(32)
BYTES = 3_000_000
FIRST, SECOND = (1, 10, 120), (1, 20, 240)


def _never():
    return False


def _write(folder, rank, key, *, world=2, number=0, fill=None, whole=True):
    """A sealed slot, as a rank leaves it."""
    make_private(folder)
    slot = Slot.create(
        folder / f"r{rank}of{world}-{number}.slot", header_bytes=9000, payload_bytes=BYTES
    )
    slot.memory[slot.payload :] = (fill or bytes([rank + 1])) * BYTES
    shape = [BYTES]
    attempt, step, draw = key
    words = {
        "format": 1, "home": "h", "rank": rank, "world": world, "fingerprint": "f",
        "sequence": number, "attempt": attempt, "step": step, "draw": draw,
        "tensors": {"w": [shape if whole else [2 * BYTES], "uint8", shape, [1], 0]},
    }  # fmt: skip
    slot.seal(json.dumps(words).encode())
    return slot.path


def _say(port, words):
    """What a courier answers to bytes, until it hangs up."""
    heard = b""
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.settimeout(5.0)
        line.sendall(words)
        with contextlib.suppress(ConnectionError):
            while part := line.recv(4096):
                heard += part
    return heard


class Rooms:
    """Hosts with a rank each, whose couriers reach each other through `Line`s where asked."""

    def __init__(self, folder, number, secrets=None):
        self.folders = [folder / f"shm{at}" for at in range(number)]
        for one in self.folders:
            make_private(one)
        self.couriers = [
            Courier(one, (secrets or {}).get(at, SECRET)) for at, one in enumerate(self.folders)
        ]
        self.members = [self._member(at, one.port) for at, one in enumerate(self.couriers)]

    @staticmethod
    def _member(at, port):
        return Member(token=f"t{at}", name=f"n{at}", address="127.0.0.1", nproc=1, copies_port=port)

    def reach(self, at, port):
        self.members[at] = self._member(at, port)

    def enter(self, only=None):
        for at, one in enumerate(self.couriers):
            if only is None or at in only:
                one.enter(self.members, at, _never)

    def copy(self, key, *, safe=None, seconds=15.0):
        """Have all copy a state; their reports when all have."""
        for one in self.couriers:
            one.follow(Word(copy=key, safe=safe))
        end = time.monotonic() + seconds
        while any(one._report.copied != key for one in self.couriers):
            assert time.monotonic() < end, [one._report for one in self.couriers]
            time.sleep(0.02)
        return [one._report for one in self.couriers]

    def copies(self, at):
        return sorted((one.rank, one.key) for one in Stock(self.folders[at]).copies())


class Line:
    """A proxy to a port that may do something to what goes there.

    Args:
        alter: from (bytes sent before, these bytes) what goes on; None: the line is cut.
    """

    def __init__(self, port, alter):
        self._to, self._alter = port, alter
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._door.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                for one, other, alter in (
                    (near, far, self._alter),
                    (far, near, lambda _, part: part),
                ):
                    threading.Thread(
                        target=self._pass_on, args=(one, other, alter), daemon=True
                    ).start()

    @staticmethod
    def _pass_on(one, other, alter):
        sent = 0
        with contextlib.suppress(OSError):
            while part := one.recv(65536):
                changed = alter(sent, part)
                if changed is None:
                    break
                sent += len(part)
                other.sendall(changed)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        one.close()


@pytest.fixture
def rooms(tmp_path):
    made = []

    def make(number=2, **more):
        made.append(Rooms(tmp_path, number, **more))
        return made[-1]

    yield make
    for one in made:
        for courier in one.couriers:
            courier.close()


class TestCopies:
    def test_each_host_has_the_state_of_the_one_before_byte_for_byte(self, rooms):
        three = rooms(3)
        paths = [_write(one, at, FIRST, world=3) for at, one in enumerate(three.folders)]
        three.enter()
        reports = three.copy(FIRST)
        assert [(one.lacks, one.missed, one.keys) for one in reports] == [("", False, (FIRST,))] * 3
        assert [three.copies(at) for at in range(3)] == [[(2, FIRST)], [(0, FIRST)], [(1, FIRST)]]
        copy = next((three.folders[1] / "copies").glob("*.slot"))
        Slot.open(copy).inspect()
        assert copy.read_bytes() == paths[0].read_bytes()

    def test_the_last_whole_one_is_kept_until_the_next_is_safe_and_memory_is_used_again(
        self, rooms
    ):
        two = rooms()
        files = set()
        two.enter()
        for number, key in enumerate([(1, step, step) for step in range(10, 60, 10)]):
            for at, folder in enumerate(two.folders):
                _write(folder, at, key, number=number)
            safe = (1, 10 * number, 10 * number) if number else None
            two.copy(key, safe=safe)
            assert two.copies(1) == [(0, one) for one in (safe, key) if one]
            files |= {one.stat().st_ino for one in (two.folders[1] / "copies").iterdir()}
        assert len(files) == 2

    def test_a_rank_does_not_write_over_what_is_copied_or_safe(self, rooms):
        two = rooms()
        paths = [_write(one, at, FIRST) for at, one in enumerate(two.folders)]
        two.enter()
        two.copy(FIRST)
        assert Slot.open(paths[0]).is_held
        newer = [_write(one, at, SECOND, number=1) for at, one in enumerate(two.folders)]
        two.copy(SECOND, safe=FIRST)
        assert Slot.open(paths[0]).is_held
        assert Slot.open(newer[0]).is_held
        two.copy(SECOND, safe=SECOND)
        end = time.monotonic() + 5.0
        while Slot.open(paths[0]).is_held and time.monotonic() < end:
            time.sleep(0.02)
        assert not Slot.open(paths[0]).is_held

    def test_a_state_that_is_gone_already_is_said(self, rooms):
        two = rooms()
        _write(two.folders[0], 0, FIRST)
        two.enter()
        first, second = two.copy(FIRST)
        assert (first.missed, second.missed) == (False, True)

    def test_without_room_the_reason_is_told_to_both(self, rooms):
        two = rooms()
        for at, one in enumerate(two.folders):
            _write(one, at, FIRST)
        two.enter()
        (two.folders[1] / NO_COPIES).write_text("/dev/shm is small")
        first, second = two.copy(FIRST)
        assert first.lacks == "n1: it has no room for copies: /dev/shm is small"
        assert second.lacks == "this host has no room to hold states: /dev/shm is small"


class TestABadLine:
    def _through(self, rooms, alter):
        """What becomes of a copy to host 1 through a line, after a whole one."""
        two = rooms()
        for at, one in enumerate(two.folders):
            _write(one, at, FIRST)
        two.enter()
        two.copy(FIRST)
        for at, one in enumerate(two.folders):
            _write(one, at, SECOND, number=1)
        two.reach(1, Line(two.couriers[1].port, alter).port)
        first, second = two.copy(SECOND, safe=FIRST)
        assert second.lacks == ""
        assert two.copies(1) == [(0, FIRST)]  # the older one still stands
        for one in (two.folders[1] / "copies").glob("*.slot"):
            Slot.open(one).inspect()
        return first.lacks

    def test_a_torn_transfer_is_no_copy(self, rooms):
        lacks = self._through(rooms, lambda sent, part: part if sent < BYTES // 2 else None)
        assert lacks.startswith("n1: ")

    def test_a_flipped_bit_is_no_copy(self, rooms):
        def flip(sent, part):
            at = BYTES // 2 - sent
            if not 0 <= at < len(part):
                return part
            return part[:at] + bytes([part[at] ^ 4]) + part[at + 1 :]

        assert "a bit has changed under way" in self._through(rooms, flip)

    def test_a_neighbour_that_takes_nothing_more_is_given_up(self, rooms, monkeypatch):
        monkeypatch.setattr(parcels, "PATIENCE_SECONDS", 0.5)

        def stall(sent, part):
            if sent > BYTES // 2:
                time.sleep(3.0)
            return part

        began = time.monotonic()
        assert self._through(rooms, stall).startswith("n1: ")
        assert time.monotonic() - began < 15.0


class TestStrangers:
    def test_who_does_not_know_the_secret_writes_nothing_and_learns_nothing(self, rooms, capfd):
        two = rooms(secrets={1: bytes([7]) * 32})
        path = _write(two.folders[0], 0, FIRST)
        _write(two.folders[1], 1, FIRST)
        two.enter()
        first, _ = two.copy(FIRST)
        assert first.lacks.startswith("n1: ")
        assert two.copies(1) == two.copies(0) == []
        with contextlib.closing(
            connect("127.0.0.1", two.couriers[0].port, bytes([7]) * 32)
        ) as channel:
            channel.send(Question())
            with pytest.raises(OSError):
                channel.receive()
        assert path.exists()
        assert "turned away: it does not know the secret of this run" in capfd.readouterr().err

    def test_words_that_were_heard_once_cannot_be_said_again(self, rooms):
        two = rooms()
        said = []

        def hear(sent, part):
            said.append(part)
            return part

        line = Line(two.couriers[0].port, hear)
        with contextlib.closing(connect("127.0.0.1", line.port, SECRET)) as channel:
            channel.send(Question())
            channel.receive()
        heard = _say(two.couriers[0].port, b"".join(said))
        assert len(heard) == len(parcels.MAGIC) + parcels.NONCE_BYTES  # a greeting, and no more

    def test_noise_and_endless_letters_end_the_call(self, rooms):
        two = rooms()
        for words in (b"GET / HTTP/1.1\r\n" * 9, parcels.MAGIC + os.urandom(32) + b"\xff" * 4):
            _say(two.couriers[0].port, words)
        with contextlib.closing(connect("127.0.0.1", two.couriers[0].port, SECRET)) as channel:
            channel.send(Question())
            assert channel.receive().states == []

    def test_the_secret_is_made_once_and_this_account_alone_may_read_it(self, tmp_path):
        assert secret_of(tmp_path) == secret_of(tmp_path)
        assert (tmp_path / "progress" / "secret").stat().st_mode & 0o777 == 0o600


class TestANewRound:
    def test_a_host_with_empty_memory_gets_what_its_ranks_need(self, rooms):
        two = rooms()
        paths = [_write(one, at, FIRST) for at, one in enumerate(two.folders)]
        two.enter()
        two.copy(FIRST)
        was = paths[1].read_bytes()
        for path in two.folders[1].rglob("*.slot"):
            path.unlink()
        two.enter(only=[1])
        brought = two.couriers[1]._brought
        assert (brought.step, brought.ranks, brought.hosts) == (10, (1,), ("n0",))
        assert next(two.folders[1].glob("r1of2-*.slot")).read_bytes() == was

    def test_a_host_whose_place_has_changed_moves_its_copy_in(self, rooms):
        two = rooms()
        for at, one in enumerate(two.folders):
            _write(one, at, FIRST)
        two.enter()
        two.copy(FIRST)
        for path in two.folders[0].rglob("*.slot"):
            path.unlink()
        two.members.reverse()  # what was host 1 comes first now
        two.couriers[1].enter(two.members, 0, _never)
        two.couriers[0].enter(two.members, 1, _never)
        assert list(two.folders[1].glob("r0of2-*.slot"))
        assert list(two.folders[0].glob("r1of2-*.slot"))
        two.couriers.reverse()
        two.folders.reverse()
        two.copy(FIRST)
        two.copy(FIRST, safe=FIRST)
        time.sleep(0.5)
        assert [(one.rank, one.is_copy) for one in Stock(two.folders[0]).own()] == [(0, False)]
        assert two.copies(0) == [(1, FIRST)]

    def test_parts_of_another_number_of_ranks_are_said_to_be_of_no_use(self, rooms):
        two = rooms()
        _write(two.folders[0], 0, FIRST, world=3, whole=False)
        two.enter()
        assert "each a part of 3 ranks'" in two.couriers[0]._brought.why


def test_a_hold_ends_with_its_process(tmp_path):
    path = _write(tmp_path, 0, FIRST)
    child = os.fork()
    if child == 0:
        with hold(path):
            time.sleep(60.0)
        os._exit(0)
    slot = Slot.open(path)
    end = time.monotonic() + 10.0
    while not slot.is_held and time.monotonic() < end:
        time.sleep(0.01)
    assert slot.is_held
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert not slot.is_held
