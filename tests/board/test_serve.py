"""`steadytrain board` as a person starts it."""

import contextlib
import http.client
import re
import signal
import socket
import subprocess
import sys

import pytest

from steadytrain import cli
from steadytrain.board import door
from tests.board.rig import until, write_run


def test_it_prints_an_address_that_lets_in_and_the_way_from_another_machine(tmp_path):
    write_run(tmp_path / "runs" / "r1", 3)
    command = [sys.executable, "-m", "steadytrain", "board", str(tmp_path / "runs"), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        address, tunnel = process.stdout.readline(), process.stdout.readline()
        port, token = re.search(r"http://127\.0\.0\.1:(\d+)/#token=(\S+)", address).groups()
        assert f"ssh -L {port}:127.0.0.1:{port} " in tunnel

        def answer():
            line = http.client.HTTPConnection("127.0.0.1", int(port), timeout=5)
            with contextlib.closing(line), contextlib.suppress(OSError):
                line.request("GET", "/api/runs", headers={"Authorization": f"Bearer {token}"})
                return b'"r1"' in line.getresponse().read()
            return False

        until(answer)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=15) in (0, 130)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_port_that_is_taken_is_told_in_one_line(tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert cli.main(["board", str(tmp_path), "--port", port]) == 2
    assert "--port 0" in capsys.readouterr().err


def test_nobody_opens_the_text_to_everybody_by_mistake(tmp_path, capsys):
    assert cli.main(["board", str(tmp_path), "--host", "0.0.0.0", "--no-token"]) == 2
    assert "training text" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "is_own"),
    [("127.0.0.1", True), ("127.3.4.5", True), ("localhost", True), ("[::1]", True), ("0.0.0.0", False),
     ("board.example", False)],
)  # fmt: skip
def test_what_is_this_machine(host, is_own):
    assert door.is_loopback(host) == is_own


def test_two_boards_on_one_host_do_not_share_a_cookie():
    assert door.cookie_name("127.0.0.1:6460") != door.cookie_name("127.0.0.1:6461")
