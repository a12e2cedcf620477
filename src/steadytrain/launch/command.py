"""The words of `steadytrain run`."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from steadytrain.launch.hosts import environment_defaults, read_hosts


def add_arguments(run: argparse.ArgumentParser) -> None:
    """The command's options; what to start follows `--`."""
    run.add_argument("--home", type=Path, default=Path("runs/run"), help="folder of the run")
    given = environment_defaults(os.environ)
    run.add_argument(
        "--nproc", type=int, default=int(given["nproc"]), help="ranks on this host (1)"
    )
    run.add_argument(
        "--nnodes",
        default=given["nnodes"],
        metavar="N|MIN:MAX",
        help="hosts of the run, or the least and the most it goes on with (1)",
    )
    run.add_argument(
        "--rdzv-endpoint",
        default=given["rdzv_endpoint"],
        metavar="HOST:PORT[,...]",
        help="where the hosts meet: one of them, the same everywhere; the next takes over",
    )
    run.add_argument("--rdzv-id", default=given["rdzv_id"], help="tells runs at one endpoint apart")
    run.add_argument(
        "--rdzv-backend",
        default=given["rdzv_backend"],
        metavar="c10d|etcd|static",
        help="where hosts meet: in one of them, in etcd, in the first of a fixed order (c10d; "
        "static with --node-rank)",
    )
    run.add_argument(
        "--node-rank",
        default=given["node_rank"],
        metavar="R",
        help="static: place of this host, from 0; the first has the endpoint",
    )
    run.add_argument(
        "--master-addr", default=given["master_addr"], help="static: the endpoint's host"
    )
    run.add_argument(
        "--master-port", default=given["master_port"], help="static: the endpoint's port (29500)"
    )
    run.add_argument(
        "--rdzv-conf",
        default=given["rdzv_conf"],
        metavar="KEY=VALUE[,...]",
        help="seconds: host_timeout (10), last_call_timeout (5), join_timeout (600), "
        "rejoin_timeout (120); etcd: protocol=https, cacert, cert, key",
    )
    run.add_argument(
        "--local-addr", metavar="ADDRESS", help="of this host, as the others reach it (its name)"
    )
    run.add_argument(
        "--neighbour-copies",
        action="store_true",
        help="each host's states also lie in the memory of the next: a lost host costs no steps "
        "since the last checkpoint; needs room for four more states a rank in /dev/shm",
    )
    run.add_argument(
        "--hang-after",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="never call a rank hung before so long without progress (60)",
    )
    run.add_argument(
        "--grace",
        type=float,
        default=25.0,
        metavar="SECONDS",
        help="from SIGTERM to SIGKILL, to finish a step and save (25)",
    )
    run.add_argument(
        "--preload",
        action="append",
        default=[],
        metavar="MODULE",
        help="import it once, not at each start of each rank; torch always is",
    )
    run.add_argument("--no-fork", action="store_true", help="each rank is a new interpreter")


def arguments(options: argparse.Namespace) -> dict[str, Any]:
    """What the options ask of a `Supervisor`."""
    return {
        "command": as_command(options.command_line),
        "home": options.home,
        "nproc": options.nproc,
        "hosts": read_hosts(
            nnodes=options.nnodes,
            endpoints=options.rdzv_endpoint,
            run_id=options.rdzv_id,
            backend=options.rdzv_backend,
            conf=options.rdzv_conf,
            address=options.local_addr,
            place=options.node_rank,
            master=":".join(filter(None, (options.master_addr, options.master_port))),
            environ=os.environ,
        ),
        "neighbour_copies": options.neighbour_copies,
        "floor_seconds": options.hang_after,
        "grace_seconds": options.grace,
        "preload": None if options.no_fork else options.preload,
    }


def as_command(given: list[str]) -> list[str]:
    """`train.py --x` and `-m my.train --x` -> this Python runs it; else it is a program.

    >>> as_command(["-m", "my.train"])[1:], as_command(["bash", "x.sh"])
    (['-m', 'my.train'], ['bash', 'x.sh'])
    """
    is_python = given[0].endswith(".py") or given[0] == "-m"
    return [sys.executable, *given] if is_python else given
