"""A real etcd as the store in which hosts meet: the same calls, its own faults."""

import http.server
import random
import shutil
import subprocess
import threading
import time

import pytest

from steadytrain.errors import SettingError
from steadytrain.launch import etcd as room
from steadytrain.launch.etcd import EtcdStore, Keys
from steadytrain.launch.hosts import Hosts
from steadytrain.launch.letters import Order, Word
from steadytrain.launch.line import Line
from steadytrain.launch.meeting import Ended, Meeting
from tests.launch.etcds import WHY_NOT, Etcd, free_ports
from tests.launch.test_meeting import Memory

pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))


@pytest.fixture(scope="module")
def etcd(tmp_path_factory):
    with Etcd(tmp_path_factory.mktemp("etcd")) as one:
        yield one


@pytest.fixture
def enter(etcd, request):
    def enter(*, seconds=5.0, endpoints=etcd.endpoints, keys=None):
        return EtcdStore(endpoints, run_id=request.node.name, keys=keys, seconds=seconds)

    return enter


def test_it_answers_as_the_store_in_memory_does(enter, request):
    ours, plain = enter(), Memory()
    chance = random.Random(1)
    keys = [f"{request.node.name}/{one}" for one in "abc"]
    for _ in range(200):
        key, other = chance.sample(keys, 2)
        word = str(chance.randrange(3))
        match chance.randrange(5):
            case 0:
                act = ("set", key, word)
            case 1:
                act = ("add", key, chance.randrange(3))
            case 2:
                act = ("check", [key, other])
            case 3:
                act = ("compare_set", key, chance.choice(["", "0", "1"]), word)
            case 4 if plain.check([key, other]):
                act = ("multi_get", [key, other])
            case _:
                continue
        name, *given = act
        assert getattr(ours, name)(*given) == getattr(plain, name)(*given), act


def test_bytes_come_back_as_they_are_and_what_is_missing_is_an_error(enter, request):
    store, key = enter(), request.node.name
    store.set(key, bytes(range(256)))
    assert store.get(key) == bytes(range(256))
    store.set(key, b"")
    assert store.get(key) == b""
    with pytest.raises(RuntimeError, match="does not hold"):
        store.get(f"{key}/none")
    many = [f"{key}/{at}" for at in range(250)]  # more than one transaction may hold
    for one in many:
        store.set(one, one)
    assert store.multi_get(many) == [one.encode() for one in many]


def test_no_count_is_lost_when_many_count_at_once(enter, request):
    def count():
        store = enter()
        for _ in range(25):
            store.add(request.node.name, 1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert enter().add(request.node.name, 0) == 100


def test_what_hosts_wrote_is_gone_a_while_after_the_last_of_them(enter, request, monkeypatch):
    monkeypatch.setattr(room, "LEASE_SECONDS", 2.0)
    store, key = enter(seconds=0.3), request.node.name
    store.set(key, "x")
    end = time.monotonic() + 5.0
    while time.monotonic() < end:  # who is there renews it
        assert store.check([key])
        time.sleep(0.1)
    time.sleep(6.0)
    assert not store.check([key])
    store.set(key, "y")  # and begins anew
    assert store.get(key) == b"y"


def test_the_end_of_one_member_is_nobodys_business(tmp_path, request):
    with Etcd(tmp_path, number=3) as cluster:
        store = EtcdStore(cluster.endpoints, run_id="r", keys=None, seconds=20.0)
        store.set("a", "1")
        cluster.members[0].kill()
        assert store.get("a") == b"1"
        assert store.add("n", 2) == 2
        assert store.compare_set("a", "1", "2") == b"2"
        cluster.members[1].kill()  # no majority is left
        lost = EtcdStore.__new__(EtcdStore)
        lost.__dict__ |= store.__dict__ | {"_seconds": 3.0, "_open": None}
        began = time.monotonic()
        with pytest.raises(RuntimeError, match="etcd at 127"):
            lost.set("a", "3")
        assert time.monotonic() - began < 15.0


def test_nobody_there_is_a_store_that_is_lost(enter):
    with pytest.raises(RuntimeError, match="refused"):
        enter(endpoints=[("127.0.0.1", free_ports(1)[0])], seconds=0.5)


def test_what_is_no_etcd_is_said_with_what_to_write(enter):
    server = http.server.HTTPServer(
        ("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler, bind_and_activate=True
    )
    server.RequestHandlerClass.log_message = lambda *_: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(SettingError, match="not as an etcd.*--rdzv-endpoint"):
            enter(endpoints=[server.server_address])
    finally:
        server.shutdown()
        server.server_close()


def test_a_missing_file_is_said_before_anything_is_asked(enter):
    with pytest.raises(SettingError, match="cacert=FILE"):
        enter(keys=Keys(cacert="/none/ca.pem"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
def test_behind_tls_both_sides_show_who_they_are(tmp_path):
    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=tmp_path, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem",
            "-subj", "/CN=ca", "-days", "2")  # fmt: skip
    (tmp_path / "names").write_text("subjectAltName=IP:127.0.0.1")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "me.key", "-out", "me.csr",
            "-subj", "/CN=127.0.0.1")  # fmt: skip
    openssl("x509", "-req", "-in", "me.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", "me.pem", "-days", "2", "-extfile", "names")  # fmt: skip
    ca, cert, key = (str(tmp_path / name) for name in ("ca.pem", "me.pem", "me.key"))
    more = ["--cert-file", cert, "--key-file", key, "--client-cert-auth", "--trusted-ca-file", ca]
    with Etcd(tmp_path, scheme="https", more=more) as one:

        def enter(keys):
            return EtcdStore(one.endpoints, run_id="r", keys=keys, seconds=3.0)

        store = enter(Keys(cacert=ca, cert=cert, key=key))
        store.set("a", "1")
        assert store.clone().get("a") == b"1"
        for keys in (None, Keys(), Keys(cacert=ca)):
            with pytest.raises(SettingError, match="protocol=https"):
                enter(keys)


class TestAMeeting:
    def _meet(self, etcd, run_id, names, *, seconds=30.0, is_new=True, **changes):
        found, threads = {}, []
        for name in names:
            hosts = Hosts(
                least=2, most=3, endpoints=tuple(etcd.endpoints), run_id=run_id, address=name,
                backend="etcd", silent_seconds=2.0, last_call_seconds=0.3, **changes,
            )  # fmt: skip
            one = Meeting(
                hosts, token=f"token-{name}", nproc=1, open_store=None, is_to_leave=lambda: False
            )

            def gather(one=one, name=name):
                found[name] = one.gather(seconds, is_new=is_new)

            threads.append(threading.Thread(target=gather))
            threads[-1].start()
        return found, threads

    def test_hosts_find_each_other_and_hear_of_the_end(self, etcd, request):
        found, threads = self._meet(etcd, request.node.name, ["b", "a"])
        for one in threads:
            one.join()
        assert [one.name for one in found["a"].members] == ["a", "b"]
        line = Line(found["a"].store, found["a"].path, rank=0, members=found["a"].members)
        late, (thread,) = self._meet(etcd, request.node.name, ["c"])
        end = time.monotonic() + 10.0
        while line.waiting() != ["c"] and time.monotonic() < end:
            time.sleep(0.05)
        assert line.waiting() == ["c"]
        line.speak(Word(order=Order(what="end", status=93)))
        thread.join()
        line.close()
        assert late["c"] == Ended(93)

    def test_the_end_of_an_earlier_run_is_not_taken_for_that_of_this_one(self, etcd, request):
        self.test_hosts_find_each_other_and_hear_of_the_end(etcd, request)
        found, threads = self._meet(etcd, request.node.name, ["d", "e"])
        for one in threads:
            one.join()
        assert [one.name for one in found["d"].members] == ["d", "e"]
