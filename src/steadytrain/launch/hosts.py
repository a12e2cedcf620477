"""What a run on several hosts is told: how many, where they meet, how long they wait."""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from steadytrain.errors import SettingError

PORT = 29400
"""Of an endpoint that names none; as torchrun's c10d rendezvous."""

_UNFIT = re.compile(r"[^A-Za-z0-9.-]+")
_CONF = {
    "host_timeout": "silent_seconds",
    "last_call_timeout": "last_call_seconds",
    "join_timeout": "join_seconds",
    "rejoin_timeout": "rejoin_seconds",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Hosts:
    """How the hosts of a run find each other and when one counts as lost.

    Attributes:
        least, most: hosts that the run needs, and that it takes. [hosts]
        endpoints: (address, port) where they meet; the first that can be reached counts.
        run_id: tells runs apart that meet at the same endpoint.
        address: of this host, as the others reach it; None: its own name.
        silent_seconds: a host that has said nothing for so long is lost; one that has heard nothing
            for three quarters of it ends its own ranks.
        last_call_seconds: once `least` are there, how long the others are waited for.
        join_seconds, rejoin_seconds: how long `least` hosts are waited for at first, and after some
            were lost; then this host leaves, and asks to be started again.

    Source: silent_seconds between torchft's 5 and PyTorch's 15 (3 heartbeats of 5 s); join 600:
    PyTorch's; last call 5 for its 30, since a host that comes later is taken in without loss;
    rejoin 120: a guess, time for a machine to come back.

    Raises:
        SettingError: numbers that make no sense together.
    """

    least: int
    most: int
    endpoints: tuple[tuple[str, int], ...]
    run_id: str = "steadytrain"
    address: str | None = None
    silent_seconds: float = 10.0
    last_call_seconds: float = 5.0
    join_seconds: float = 600.0
    rejoin_seconds: float = 120.0

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise SettingError(
                f"{self.least}:{self.most} hosts is no range, so nobody could tell when to begin. "
                "Write --nnodes MIN:MAX with 1 <= MIN <= MAX."
            )
        if not self.endpoints:
            raise SettingError(
                f"{self.most} hosts have no place to meet. Write --rdzv-endpoint HOST:PORT with "
                "the same host, one of them, on every host."
            )
        if len(self.endpoints) > 1 and 2 * self.least <= self.most:
            raise SettingError(
                f"{self.least} of {self.most} hosts are no majority: with several endpoints, two "
                "halves that are cut off from each other would both train in this home. Write "
                f"--nnodes {self.most // 2 + 1}:{self.most}, or a single endpoint."
            )
        if min(self.silent_seconds, self.join_seconds, self.rejoin_seconds) <= 0.0:
            raise SettingError(
                "a timeout of no seconds gives every host up at once. "
                "Write --rdzv-conf host_timeout=10 if unsure."
            )

    @property
    def name(self) -> str:
        """Of this host: in file names, and for people."""
        return _UNFIT.sub("-", self.address or socket.gethostname())

    @property
    def reach(self) -> str:
        """Where the others reach this host."""
        return self.address or socket.getfqdn()


def read_hosts(
    *,
    nnodes: str,
    endpoints: str,
    run_id: str,
    backend: str,
    conf: str,
    address: str | None,
) -> Hosts | None:
    """Options as torchrun has them -> how the hosts meet; None for a single host.

    Raises:
        SettingError: what is asked for is not possible; the message says what to write.

    >>> read_hosts(nnodes="2:4", endpoints="node0", run_id="r1", backend="c10d",
    ...            conf="host_timeout=20", address=None).endpoints
    (('node0', 29400),)
    """
    least, most = _read_range(nnodes)
    if most == 1 and not endpoints:
        return None
    if backend != "c10d":
        raise SettingError(
            f"--rdzv-backend {backend} is not supported: hosts meet in PyTorch's own store, which "
            "needs no other service. Write --rdzv-backend c10d, or leave it out."
        )
    return Hosts(
        least=least,
        most=most,
        endpoints=tuple(_read_endpoint(one) for one in endpoints.split(",") if one.strip()),
        run_id=run_id,
        address=address,
        **_read_conf(conf),
    )


def environment_defaults(environ: Mapping[str, str]) -> dict[str, str]:
    """Options that a launcher gives by environment.

    PET_...: as torchrun, set by Kubeflow's PyTorchJob. Slurm's list of nodes names the endpoint.
    """
    nodes = expand_nodes(environ.get("SLURM_JOB_NODELIST", ""))
    is_job = "SLURM_NODEID" in environ and len(nodes) > 1  # a task of `srun`, not the batch script
    return {
        "nnodes": environ.get("PET_NNODES", str(len(nodes)) if is_job else "1"),
        "rdzv_endpoint": environ.get("PET_RDZV_ENDPOINT", nodes[0] if is_job else ""),
        "rdzv_id": environ.get("PET_RDZV_ID", environ.get("SLURM_JOB_ID", "steadytrain")),
        "rdzv_backend": environ.get("PET_RDZV_BACKEND", "c10d"),
        "rdzv_conf": environ.get("PET_RDZV_CONF", ""),
        "nproc": environ.get("PET_NPROC_PER_NODE", "1"),
    }


def expand_nodes(text: str) -> list[str]:
    """Slurm's short form of a list of nodes, written out.

    >>> expand_nodes("gpu[01-03,7],login")
    ['gpu01', 'gpu02', 'gpu03', 'gpu7', 'login']
    """
    found: list[str] = []
    for name, inside, rest in re.findall(r"([^,\[\]]+)(?:\[([^\]]*)\])?([^,\[\]]*)", text):
        for part in inside.split(",") if inside else [""]:
            first, _, last = part.partition("-")
            for number in range(int(first), int(last or first) + 1) if first else [None]:
                middle = "" if number is None else f"{number:0{len(first)}d}"
                found.append(f"{name}{middle}{rest}")
    return found


def _read_range(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)(?::(\d+))?", text.strip())
    if found is None:
        raise SettingError(
            f"--nnodes {text!r} is not a number of hosts. Write --nnodes 4, or --nnodes 2:4 for a "
            "run that goes on with two to four."
        )
    return int(found[1]), int(found[2] or found[1])


def _read_endpoint(text: str) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[^\]]+\]|[^:\s]+)(?::(\d{1,5}))?", text.strip())
    if found is None:
        raise SettingError(
            f"{text!r} is no endpoint. Write --rdzv-endpoint HOST:PORT, or HOST1:PORT,HOST2:PORT."
        )
    return found[1].strip("[]"), int(found[2] or PORT)


def _read_conf(text: str) -> dict[str, float]:
    found = {}
    for pair in filter(None, text.split(",")):
        name, _, number = pair.strip().partition("=")
        try:
            found[_CONF[name]] = float(number)
        except (KeyError, ValueError) as error:
            raise SettingError(
                f"--rdzv-conf {pair!r} says nothing that is known. Write one of "
                f"{', '.join(f'{one}=SECONDS' for one in _CONF)}, separated by commas."
            ) from error
    return found
