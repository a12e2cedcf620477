"""What a run on several hosts is told: how many, where they meet, how long they wait."""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from steadytrain.errors import SettingError
from steadytrain.launch.etcd import Keys

Backend = Literal["c10d", "etcd", "static"]

PORT = 29400
"""Of an endpoint that names none; as torchrun's c10d rendezvous."""

PORTS: dict[Backend, int] = {"c10d": PORT, "etcd": 2379, "static": 29500}
"""Source: torchrun's, and etcd's own."""

PLACES = ("NODE_RANK", "GROUP_RANK", "SLURM_NODEID", "JOB_COMPLETION_INDEX")
"""Variables in which launchers and scripts tell a host its place in a fixed order of them."""

_UNFIT = re.compile(r"[^A-Za-z0-9.-]+")
_CONF = {
    "host_timeout": "silent_seconds",
    "last_call_timeout": "last_call_seconds",
    "join_timeout": "join_seconds",
    "rejoin_timeout": "rejoin_seconds",
}
_FILES = ("cacert", "cert", "key")


@dataclass(frozen=True, kw_only=True, slots=True)
class Hosts:
    """How the hosts of a run find each other and when one counts as lost.

    Attributes:
        least, most: hosts that the run needs, and that it takes. [hosts]
        endpoints: (address, port) where they meet; the first that can be reached counts. With etcd
            its members, which are one store.
        backend: what keeps the store in which they meet: "c10d" one of the hosts, "etcd" a service
            of its own, "static" the first host of a fixed order.
        place: of this host in that order, from 0; None: there is none.
        keys: files for etcd behind TLS; None: plain HTTP.
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
    backend: Backend = "c10d"
    place: int | None = None
    keys: Keys | None = None
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
        if self.backend == "static":
            self._refuse_what_is_not_static()
        if self.can_split and 2 * self.least <= self.most:
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

    def _refuse_what_is_not_static(self) -> None:
        if self.least != self.most:
            raise SettingError(
                f"--rdzv-backend static is for a fixed number of hosts, and {self.least}:"
                f"{self.most} is a range. Write --nnodes {self.most}, or --rdzv-backend c10d for "
                "hosts that come and go."
            )
        if len(self.endpoints) > 1:
            raise SettingError(
                "--rdzv-backend static has one endpoint, on the host of --node-rank 0, and got "
                f"{len(self.endpoints)}. Write that one, or --rdzv-backend c10d, where the next "
                "takes over."
            )
        if self.place is None or not 0 <= self.place < self.most:
            wrong = "does not know its place" if self.place is None else f"has place {self.place}"
            raise SettingError(
                f"--rdzv-backend static gives {self.most} hosts a fixed order, and this one "
                f"{wrong} in it. Write --node-rank R with another R of 0 to {self.most - 1} on "
                "each host."
            )

    @property
    def can_split(self) -> bool:
        """Whether hosts that are cut off from each other could meet at two of the endpoints."""
        return self.backend == "c10d" and len(self.endpoints) > 1

    @property
    def name(self) -> str:
        """Of this host: in file names, and for people."""
        return _UNFIT.sub("-", self.address or socket.gethostname())

    @property
    def reach(self) -> str:
        """Where the others reach this host."""
        if self.address is None and self.place == 0:
            return self.endpoints[0][0]
        return self.address or socket.getfqdn()


def read_hosts(
    *,
    nnodes: str,
    endpoints: str,
    run_id: str,
    backend: str,
    conf: str,
    address: str | None,
    place: str = "",
    master: str = "",
    environ: Mapping[str, str] | None = None,
) -> Hosts | None:
    """Options as torchrun has them -> how the hosts meet; None for a single host.

    Args:
        backend: "": static if this host was told its place, else c10d.
        place: --node-rank; "": with static, the first of `PLACES` in `environ`.
        master: HOST:PORT for static where `endpoints` is empty.

    Raises:
        SettingError: what is asked for is not possible; the message says what to write.

    >>> read_hosts(nnodes="2:4", endpoints="node0", run_id="r1", backend="c10d",
    ...            conf="host_timeout=20", address=None).endpoints
    (('node0', 29400),)
    """
    least, most = _read_range(nnodes)
    chosen = _read_backend(backend or ("static" if place else "c10d"))
    if most == 1 and (not endpoints or chosen == "static"):
        return None
    number = None
    if chosen == "static":
        endpoints = endpoints or master
        places = (place, *((environ or {}).get(one, "") for one in PLACES))
        number = _read_place(next(filter(None, places), ""))
    seconds, keys = _read_conf(conf, chosen)
    return Hosts(
        least=least,
        most=most,
        endpoints=tuple(
            _read_endpoint(one, PORTS[chosen]) for one in endpoints.split(",") if one.strip()
        ),
        run_id=run_id,
        address=address,
        backend=chosen,
        place=number,
        keys=keys,
        **seconds,
    )


def environment_defaults(environ: Mapping[str, str]) -> dict[str, str]:
    """Options that a launcher gives by environment.

    PET_...: as torchrun, set by Kubeflow's PyTorchJob and TrainJob. Slurm's list of nodes names
    the endpoint.
    """
    nodes = expand_nodes(environ.get("SLURM_JOB_NODELIST", ""))
    is_job = "SLURM_NODEID" in environ and len(nodes) > 1  # a task of `srun`, not the batch script
    has_master = "PET_MASTER_ADDR" in environ
    return {
        "nnodes": environ.get("PET_NNODES", str(len(nodes)) if is_job else "1"),
        "rdzv_endpoint": environ.get(
            "PET_RDZV_ENDPOINT", nodes[0] if is_job and not has_master else ""
        ),
        "rdzv_id": environ.get("PET_RDZV_ID", environ.get("SLURM_JOB_ID", "steadytrain")),
        "rdzv_backend": environ.get("PET_RDZV_BACKEND", ""),
        "rdzv_conf": environ.get("PET_RDZV_CONF", ""),
        "nproc": environ.get("PET_NPROC_PER_NODE", "1"),
        "node_rank": environ.get("PET_NODE_RANK", ""),
        "master_addr": environ.get("PET_MASTER_ADDR", environ.get("MASTER_ADDR", "")),
        "master_port": environ.get("PET_MASTER_PORT", environ.get("MASTER_PORT", "")),
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


def _read_backend(text: str) -> Backend:
    for backend in get_args(Backend):
        if text == backend:
            found: Backend = backend
            return found
    hint = " (etcd speaks its third protocol)" if text == "etcd-v2" else ""
    raise SettingError(
        f"--rdzv-backend {text} is not one of {', '.join(get_args(Backend))}{hint}, so the hosts "
        "would have no place to meet. Write --rdzv-backend c10d, which needs no other service, or "
        "leave it out."
    )


def _read_place(text: str) -> int | None:
    if not text:
        return None
    if not text.strip().isdecimal():
        raise SettingError(
            f"--node-rank {text!r} is not the place of a host. Write --node-rank 0 on the first "
            "host, 1 on the next, and so on."
        )
    return int(text)


def _read_endpoint(text: str, port: int) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[^\]]+\]|[^:\s]+)(?::(\d{1,5}))?", text.strip())
    if found is None:
        raise SettingError(
            f"{text!r} is no endpoint. Write --rdzv-endpoint HOST:PORT, or HOST1:PORT,HOST2:PORT."
        )
    return found[1].strip("[]"), int(found[2] or port)


def _read_conf(text: str, backend: Backend) -> tuple[dict[str, float], Keys | None]:
    """Waits [seconds], and what etcd behind TLS asks for."""
    found: dict[str, float] = {}
    files: dict[str, str] = {}
    is_secret = False
    for pair in filter(None, text.split(",")):
        name, _, word = pair.strip().partition("=")
        if backend == "etcd" and name in _FILES:
            files[name] = word
            continue
        if backend == "etcd" and name == "protocol" and word in ("http", "https"):
            is_secret = word == "https"
            continue
        try:
            found[_CONF[name]] = float(word)
        except (KeyError, ValueError) as error:
            others = "protocol=https, cacert=FILE, cert=FILE, key=FILE, "
            raise SettingError(
                f"--rdzv-conf {pair!r} says nothing that is known. Write one of "
                f"{others if backend == 'etcd' else ''}"
                f"{', '.join(f'{one}=SECONDS' for one in _CONF)}, separated by commas."
            ) from error
    return found, Keys(**files) if files or is_secret else None
