"""Hosts in network namespaces: each has an address of its own, and a cable that can be pulled.

A bridge in a namespace of its own stands for the switch. Needs root and Linux.
"""

import contextlib
import os
import shutil
import subprocess


def why_not():
    """Why namespaces cannot be made here; None if they can."""
    if shutil.which("ip") is None:
        return "the program ip (iproute2) is not installed"
    if os.geteuid() != 0:
        return "network namespaces need root"
    probe = f"stprobe{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode:
        return f"network namespaces cannot be made: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", probe], check=False)
    return None


def _ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Network:
    """`number` hosts at 10.77.0.1 and so on, all on one switch."""

    def __init__(self, number):
        self._mark = f"st{os.getpid()}"
        self._switch = f"{self._mark}s"
        self.addresses = [f"10.77.0.{at + 1}" for at in range(number)]

    def __enter__(self):
        with contextlib.ExitStack() as undo:
            undo.callback(self._remove)
            _ip("netns", "add", self._switch)
            self._in_switch("link", "add", "br0", "type", "bridge")
            self._in_switch("link", "set", "br0", "up")
            for at, address in enumerate(self.addresses):
                name = self._name(at)
                _ip("netns", "add", name)
                _ip("link", "add", f"{self._mark}v{at}", "netns", self._switch, "type", "veth",
                    "peer", "name", "eth0", "netns", name)  # fmt: skip
                self._in_switch("link", "set", f"{self._mark}v{at}", "master", "br0", "up")
                _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
                _ip("-n", name, "link", "set", "eth0", "up")
                _ip("-n", name, "link", "set", "lo", "up")
            undo.pop_all()
        return self

    def __exit__(self, *_):
        self._remove()

    def prefix(self, at):
        """What a program of this host is run under."""
        return ("ip", "netns", "exec", self._name(at))

    env = {"GLOO_SOCKET_IFNAME": "eth0", "TP_SOCKET_IFNAME": "eth0"}

    def cut(self, at):
        """Pull the cable."""
        self._in_switch("link", "set", f"{self._mark}v{at}", "down")

    def mend(self, at):
        """Put it back."""
        self._in_switch("link", "set", f"{self._mark}v{at}", "up")

    def slow(self, at, *, kbit):
        """This host sends no more than so many kbit a second."""
        subprocess.run(
            ["tc", "-n", self._name(at), "qdisc", "replace", "dev", "eth0", "root", "tbf",
             "rate", f"{kbit}kbit", "burst", "16kb", "latency", "400ms"],
            check=True, capture_output=True,
        )  # fmt: skip

    def pids(self, at):
        """Every process of this host."""
        found = subprocess.run(
            ["ip", "netns", "pids", self._name(at)], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in found.stdout.split()]

    def _name(self, at):
        return f"{self._mark}h{at}"

    def _in_switch(self, *words):
        _ip("-n", self._switch, *words)

    def _remove(self):
        for name in (*(self._name(at) for at in range(len(self.addresses))), self._switch):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
