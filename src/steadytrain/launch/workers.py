"""The ranks of one start: PyTorch's elastic agent starts them, this file ends them.

torch is imported inside `elastic_agent` and nowhere else in launch/, so the rest of the package
can be read, replayed and tested where torch is not installed.
"""

import contextlib
import datetime
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from steadytrain.launch.forks import Forks, Process
from steadytrain.launch.guard import MARK, kill_marked, terminate_marked
from steadytrain.launch.output import Output

if TYPE_CHECKING:
    from torch.distributed.elastic.agent.server.api import SimpleElasticAgent

View = Literal["healthy", "failed", "succeeded"]

POLL_SECONDS = 0.02
"""Between two looks at the processes: far below what any restart takes."""

STORE_SECONDS = 300.0
"""For a rank to say something to the others through their store. Source: torch's default."""

CRASHES = ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV")
"""Signals that a process brings on itself, so that its last words are about them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exit:
    """How a rank ended: with a code, or by a signal."""

    rank: int
    pid: int
    code: int | None
    signal: str | None
    error: str | None

    @property
    def is_success(self) -> bool:
        return self.code == 0


class Workers:
    """This host's ranks of one start. Made before they start: their output needs a place to go."""

    def __init__(
        self,
        generation: int,
        *,
        ranks: Sequence[int],
        world: int,
        home: Path,
        mark: str,
        env: Mapping[str, str],
        forks: Forks,
    ) -> None:
        self.generation = generation
        self._extra = env
        self._home = home
        self._mark = mark
        self._forks = forks
        self._processes: dict[int, Process] = {}
        self._output = Output(home, generation, ranks=ranks, is_alone=world == 1)

    @property
    def streams(self) -> dict[int, tuple[str, str]]:
        return self._output.write_ends

    @property
    def pids(self) -> dict[int, int]:
        return {rank: process.pid for rank, process in self._processes.items()}

    def environment(self) -> dict[str, str]:
        """What a rank is told besides torch's RANK, WORLD_SIZE, MASTER_ADDR and so on."""
        return {
            **early_environment(self._extra, self._mark),
            "STEADYTRAIN_HOME": str(self._home),
            "STEADYTRAIN_GENERATION": str(self.generation),
            "TORCHELASTIC_RESTART_COUNT": str(self.generation),
        }

    def adopt(self, processes: dict[int, Process]) -> None:
        self._processes = processes
        self._output.seal()

    def exits(self) -> list[Exit]:
        """Ranks that have ended, the first to fall silent first: the others may be its victims."""
        ended = [rank for rank, process in self._processes.items() if process.poll() is not None]
        return [self._exit(rank) for rank in sorted(ended, key=self._output.last_said)]

    def send(self, signum: int, *, to: int | None = None) -> None:
        """A signal to all ranks or to the one of this pid, not to their children."""
        for process in self._processes.values():
            if to is None or process.pid == to:
                process.send_signal(signum)

    def stop(self, *, grace_seconds: float) -> None:
        """End every process of this start: SIGTERM, a grace, SIGKILL; returns when all are gone."""
        spare = () if self._forks.pid is None else (self._forks.pid,)
        if grace_seconds > 0.0:
            terminate_marked(self._mark, seconds=grace_seconds, spare=spare)
        for process in self._processes.values():
            # A rank that wrote over its own environment (setproctitle) has lost its mark.
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
        stuck = kill_marked(self._mark, spare=spare)
        for process in self._processes.values():
            # One in uninterruptible sleep stays; the next start shows whether that matters.
            if process.pid not in stuck:
                process.wait()
        self._output.close()

    def _exit(self, rank: int) -> Exit:
        process = self._processes[rank]
        status = process.returncode
        name = _signal_name(-status) if status < 0 else None
        has_words = status > 0 or name in CRASHES
        return Exit(
            rank=rank,
            pid=process.pid,
            code=None if status < 0 else status,
            signal=name,
            error=self._output.last_words(rank) if has_words else None,
        )


class Keeper(Protocol):
    """Who decides about the ranks; the agent only starts them."""

    def prepare(self, ranks: Sequence[int], world: int) -> Workers:
        """Make ready for a start of these ranks that comes now; there are `world` in all."""

    def begin(self, processes: dict[int, Process]) -> None:
        """The ranks run."""

    def watch(self) -> View:
        """Look at the ranks for a while; what is done about a death is done before it returns."""

    def may_restart(self) -> bool:
        """After a "failed": shall all ranks be started again, now?"""

    def interrupt(self, signum: int) -> None:
        """A signal asked for the end."""

    def stop(self) -> None:
        """End the ranks, if any run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """What a host needs for a start together with others.

    Attributes:
        store: the start's own, for torch's agent.
        rank, world: of this host among the hosts.
        address, port: where the ranks find the store.
    """

    store: Any
    rank: int
    world: int
    address: str
    port: int


class Ally(Protocol):
    """Who agrees with other hosts on a start."""

    def meet(self) -> Start | None:
        """The next start; None: this host leaves."""

    def dissolve(self, why: str) -> None:
        """A host was lost between `meet` and the start."""


def open_store(address: str, port: int, serve: bool, seconds: float) -> Any:
    """A store of PyTorch's, made or joined; RuntimeError if it cannot be, or is lost later."""
    import torch.distributed as dist

    return dist.TCPStore(  # type: ignore[attr-defined]
        address,
        port,
        is_master=serve,
        wait_for_workers=False,
        timeout=datetime.timedelta(seconds=seconds),
    )


def early_environment(extra: Mapping[str, str], mark: str) -> dict[str, str]:
    """What a rank and the parent that it is forked from are told alike."""
    return {
        "PYTHONUNBUFFERED": "1",  # a pipe would hold its output back; as torchrun's -u
        "PYTHONFAULTHANDLER": "1",  # a crash in C says where
        **extra,
        MARK: mark,
    }


def elastic_agent(
    command: list[str], *, nproc: int, keeper: Keeper, forks: Forks, ally: Ally | None = None
) -> "SimpleElasticAgent":
    """PyTorch's elastic agent for one host, with `keeper` in the place of its monitoring.

    Args:
        ally: who agrees with other hosts; None: there are none.

    What stays PyTorch's: the ranks' environment, their start, the loop of watching and restarting.

    Every start gets a store of its own. PyTorch's c10d and static rendezvous hand the same one to
    all starts, and new ranks then read the addresses of dead ones: half of all restarts fail. See
    pytorch#135712, closed but still so in 2.13; drop `OneHost` for c10d when that is mended.
    """
    if ally is not None:
        _quiet_store()
    from torch.distributed import DistError
    from torch.distributed.elastic.agent.server.api import RunResult, WorkerSpec, WorkerState
    from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
    from torch.distributed.elastic.multiprocessing import (
        LogsDest,
        LogsSpecs,
        SignalException,
        api,
    )
    from torch.distributed.elastic.multiprocessing.subprocess_handler import SubprocessHandler
    from torch.distributed.elastic.rendezvous import (
        RendezvousGracefulExitError,
        RendezvousHandler,
        RendezvousInfo,
        RendezvousStoreInfo,
    )

    class Handler(SubprocessHandler):
        def _popen(self, args: tuple[str, ...], env: dict[str, str]) -> Any:
            assert self._stdout is not None
            assert self._stderr is not None
            forked = forks.fork(args, env, out=self._stdout, err=self._stderr)
            return super()._popen(args, env) if forked is None else forked

    @contextlib.contextmanager
    def handlers_that_fork() -> Iterator[None]:
        # torch has no other place to say how a rank is started, short of one's own agent.
        starts: Any = api
        before = starts.get_subprocess_handler
        starts.get_subprocess_handler = Handler
        try:
            yield
        finally:
            starts.get_subprocess_handler = before

    class OneHost(RendezvousHandler):
        use_agent_store = True  # the ranks are clients: no rank's death takes the store with it

        def next_rendezvous(self) -> RendezvousInfo:
            store = open_store("127.0.0.1", 0, True, STORE_SECONDS)
            return RendezvousInfo(store, 0, 1, RendezvousStoreInfo("127.0.0.1", store.port))

        def get_backend(self) -> str:
            return "c10d"

        def get_run_id(self) -> str:
            return "steadytrain"

        def is_closed(self) -> bool:
            return False

        def set_closed(self) -> None:
            """Nobody else could join."""

        def num_nodes_waiting(self) -> int:
            return 0

        def shutdown(self) -> bool:
            return True

    class SeveralHosts(OneHost):
        def next_rendezvous(self) -> RendezvousInfo:
            assert ally is not None
            start = ally.meet()
            if start is None:
                raise RendezvousGracefulExitError("this host leaves")
            place = RendezvousStoreInfo(start.address, start.port)
            return RendezvousInfo(start.store, start.rank, start.world, place)

    class Streams(LogsSpecs):
        root_log_dir = ""

        def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
            ranks = {local: int(env["RANK"]) for local, env in envs.items()}
            world = int(next(iter(envs.values()))["WORLD_SIZE"])
            workers = keeper.prepare(sorted(ranks.values()), world)
            for environment in envs.values():
                environment.update(workers.environment())
            ends = {local: workers.streams[rank] for local, rank in ranks.items()}
            return LogsDest(
                stdouts={local: out for local, (out, _) in ends.items()},
                stderrs={local: err for local, (_, err) in ends.items()},
                error_files=dict.fromkeys(envs, os.devnull),  # standard error says it too
            )

    class Agent(LocalElasticAgent):
        def _rendezvous(self, worker_group: Any) -> None:
            while True:
                try:
                    super()._rendezvous(worker_group)
                    return
                except DistError as error:
                    if ally is None:
                        raise
                    ally.dissolve(str(error).splitlines()[0])

        def _exit_barrier(self) -> None:
            """`keeper` says "succeeded" once all hosts have."""

        def _start_workers(self, worker_group: Any) -> dict[int, Any]:
            try:
                with handlers_that_fork():
                    pids: dict[int, Any] = super()._start_workers(worker_group)
            except SignalException as caught:
                # torch's handler stood for a moment; it has ended what had been started.
                keeper.interrupt(caught.sigval)
                keeper.begin({})
                return {}
            started: Any = self._pcontext
            handlers = started.subprocess_handlers
            for handler in handlers.values():
                handler._stdout.close()  # the rank has its own; a pipe ends when all are closed
                handler._stderr.close()
            rank_of = {one.local_rank: one.global_rank for one in worker_group.workers}
            keeper.begin({rank_of[local]: one.proc for local, one in handlers.items()})
            return pids

        def _monitor_workers(self, worker_group: Any) -> RunResult:
            match keeper.watch():
                case "healthy":
                    return RunResult(state=WorkerState.HEALTHY)
                case "succeeded":
                    values = dict.fromkeys(one.global_rank for one in worker_group.workers)
                    return RunResult(state=WorkerState.SUCCEEDED, return_values=values)
                case "failed":
                    self._remaining_restarts = 1 if keeper.may_restart() else 0
                    return RunResult(state=WorkerState.FAILED)

        def _stop_workers(self, *given: Any, **named: Any) -> None:  # torch 2.6: is_restart=
            keeper.stop()

        def _shutdown(self, *given: Any, **named: Any) -> None:
            keeper.stop()

    spec = WorkerSpec(
        role="rank",
        local_world_size=nproc,
        rdzv_handler=OneHost() if ally is None else SeveralHosts(),
        entrypoint=command[0],
        args=tuple(command[1:]),
        max_restarts=1,  # what counts is `may_restart`
        monitor_interval=POLL_SECONDS,
    )
    return Agent(spec, logs_specs=Streams())


def _quiet_store() -> None:
    """Import torch so that a store that is lost prints no stack of C++: `ally` says it in words."""
    before = os.environ.get("TORCH_CPP_LOG_LEVEL")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    import torch.distributed  # noqa: F401

    if before is None:
        del os.environ["TORCH_CPP_LOG_LEVEL"]  # not for the ranks


def _signal_name(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"
