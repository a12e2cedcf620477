"""The parent that ranks are forked from: it has imported what they will, so they start at once.

Run as `python [options] parent.py SOCKET SCRIPT [ARGUMENTS]` with the interpreter, the options and
the environment of the ranks, so that what is read when Python starts is read alike. The plan and
then one request a rank come over the socket. Each rank is forked twice: the child in the middle
ends at once, and the rank becomes the supervisor's own child (see forks.py).

A rank must not be able to tell. It gets the script's `__main__`, arguments, path, environment,
standard streams and session, and chance of its own: Python seeds `random` anew after a fork;
numpy's and torch's generators and multiprocessing's key are seeded anew here. What every start
shares is what an import leaves behind, and the seed of hashes.

This parent runs no tensor operation and starts no thread, or it says that it cannot be forked.
It imports nothing of steadytrain by itself, so that it starts in a few hundredths of a second.
"""

import builtins
import faulthandler
import gc
import importlib
import io
import json
import os
import runpy
import signal
import socket
import struct
import sys
import sysconfig
import time
import types
from importlib.machinery import SourceFileLoader
from typing import Any

LENGTH = struct.Struct("<Q")

READ_AT_START = (
    "PYTHON", "OMP_", "MKL_", "KMP_", "GOMP_", "OPENBLAS_", "NUMEXPR_", "LD_", "MALLOC_", "GLIBC_",
    "TORCH_", "TORCHDYNAMO_", "TORCHINDUCTOR_",
)  # fmt: skip
"""Variables that an interpreter or a library reads once: a rank that is given another value of one
than this parent was must be a new interpreter. torch's agent sets TORCH_NCCL_... itself."""

NOT_READ_AT_START = ("TORCH_NCCL_",)

GO = b"g"
"""What the supervisor writes once it knows a rank's pid; a rank that does not get it ends."""


def serve(line: socket.socket) -> dict[str, Any]:
    """Answer requests until the supervisor is gone. Returns in a rank, with what it was asked."""
    plan = receive(line)
    assert plan is not None
    _write_into(plan["log"])
    began = time.monotonic()
    sys.argv[:] = plan["argv"]
    sys.orig_argv[:] = plan["command"]
    _set_path(plan)
    started = dict(os.environ)
    reason = _preload(plan["preload"])
    if reason is not None:
        send(line, {"refused": reason})
        os._exit(0)
    files = _changeable_files()
    imported = {name: one for name, one in os.environ.items() if started.get(name) != one}
    gc.collect()
    gc.freeze()  # a collection in a rank would touch, and so copy, every page of this parent's
    send(line, {"ready": round(time.monotonic() - began, 3)})
    while True:
        try:
            header, descriptors, _, _ = socket.recv_fds(line, LENGTH.size, 3)
            request = _read_body(line, header)
        except ConnectionError:
            request = None
        if request is None:
            os._exit(0)
        reason = _reason_to_spawn(request, started) or _name_changed(files)
        if reason is not None:
            send(line, {"spawn": reason})
        else:
            pid = _fork_twice()
            if pid == 0:
                line.close()
                _become({**request, "env": request["env"] | imported}, descriptors)
                return {**plan, **request}
            send(line, {"pid": pid})
        for one in descriptors:
            os.close(one)


def run(request: dict[str, Any]) -> None:
    """The script as `__main__`, as the interpreter itself would run it."""
    main = types.ModuleType("__main__")
    main.__dict__.update(__builtins__=builtins, __annotations__={})
    sys.modules["__main__"] = main
    if request["module"] is not None:
        sys.argv[0] = "-m"
        runpy._run_module_as_main(request["module"])  # type: ignore[attr-defined]  # as Python's -m
        return
    path = os.path.join(os.getcwd(), request["argv"][0])
    main.__file__ = path
    main.__loader__ = SourceFileLoader("__main__", path)
    main.__dict__["__cached__"] = None
    with io.open_code(path) as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    exec(code, main.__dict__)


class Unseen:
    """Takes this file's own frames, `depth` of them, out of the traceback of what passes."""

    def __init__(self, depth: int) -> None:
        self._depth = depth

    def __enter__(self) -> None:
        """Nothing to begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        if error is None:
            return
        for _ in range(self._depth):
            trace = trace.tb_next if trace is not None else None
        error.__traceback__ = trace


def send(line: socket.socket, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
    """A length, with open files; then JSON, which carries undecodable bytes as surrogates."""
    body = json.dumps(message).encode()
    if descriptors:
        socket.send_fds(line, [LENGTH.pack(len(body))], list(descriptors))
    else:
        line.sendall(LENGTH.pack(len(body)))
    line.sendall(body)


def receive(line: socket.socket) -> dict[str, Any] | None:
    """The next message; None when the other end is closed."""
    return _read_body(line, _read(line, LENGTH.size))


def _read_body(line: socket.socket, header: bytes) -> dict[str, Any] | None:
    if not header:
        return None
    (length,) = LENGTH.unpack(header + _read(line, LENGTH.size - len(header)))
    body = _read(line, length)
    return json.loads(body) if len(body) == length else None


def _read(line: socket.socket, length: int) -> bytes:
    block = b""
    while len(block) < length and (more := line.recv(length - len(block))):
        block += more
    return block


def _write_into(log: str) -> None:
    """Until here standard output was a pipe, as a rank's is, so Python has set it up for one."""
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError:
        file = os.open(os.devnull, os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def _set_path(plan: dict[str, Any]) -> None:
    """`sys.path[0]`: this file's folder until now, the script's (-m: the current one) from now."""
    if sys.flags.safe_path:
        return
    script = os.path.realpath(plan["argv"][0])
    sys.path[0] = os.getcwd() if plan["module"] is not None else os.path.dirname(script)


def _preload(names: list[tuple[str, bool]]) -> str | None:
    """Import them; says why ranks cannot be forked, if so."""
    threads = 1
    for name, is_asked_for in [("numpy", False), *names]:
        try:
            importlib.import_module(name)
        except ImportError as error:
            if is_asked_for:
                return f"{name} cannot be preloaded ({error})"
        if name == "numpy":
            # OpenBLAS has threads as soon as it is loaded; it ends and starts them around a fork.
            threads = len(os.listdir("/proc/self/task"))
    if len(os.listdir("/proc/self/task")) > threads:
        return "a preloaded module has started threads, which a fork would lose"
    if any(_read_file(f"/proc/self/task/{one}/children") for one in os.listdir("/proc/self/task")):
        return "a preloaded module has started a process"
    if _has_opened_gpu():
        return "a preloaded module has opened the GPU, which a forked process could not use"
    return None


def _has_opened_gpu() -> bool:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return True
    for one in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{one}")
        except OSError:
            continue
        if target.startswith(("/dev/nvidia", "/dev/kfd", "/dev/dri")):
            return True
    return False


def _read_file(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


GENERATED = "_remote_module_non_scriptable"
"""A module that torch writes into a temporary folder, which the first fork to end removes. torch
2.6; drop when >= 2.7."""


def _changeable_files() -> dict[str, tuple[int, int] | None]:
    """Files of imported modules that are not installed packages: somebody may be editing them."""
    installed = {
        os.path.realpath(sysconfig.get_path(name))
        for name in ("stdlib", "platstdlib", "purelib", "platlib")
    }
    found = {}
    for name, module in list(sys.modules.items()):
        path = None if name.endswith(GENERATED) else getattr(module, "__file__", None)
        if path and not os.path.realpath(path).startswith(tuple(f"{one}/" for one in installed)):
            found[path] = _state_of(path)
    found.pop(__file__, None)
    return found


def _state_of(path: str) -> tuple[int, int] | None:
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size


def _name_changed(files: dict[str, tuple[int, int] | None]) -> str | None:
    changed = [path for path, state in files.items() if _state_of(path) != state]
    return f"{changed[0]} has changed since it was preloaded" if changed else None


def _reason_to_spawn(request: dict[str, Any], started: dict[str, str]) -> str | None:
    if os.getcwd() != request["cwd"]:
        return f"the current folder is {request['cwd']} now"
    env = request["env"]
    for name in env.keys() | started.keys():
        is_early = name.startswith(READ_AT_START) and not name.startswith(NOT_READ_AT_START)
        if is_early and env.get(name) != started.get(name):
            return f"{name} is another than the parent was started with"
    return None


def _fork_twice() -> int:
    """In the parent the pid of a process that is no child of it; 0 in that process."""
    read_end, write_end = os.pipe()
    middle = os.fork()
    if middle == 0:
        os.close(read_end)
        pid = os.fork()
        if pid == 0:
            os.close(write_end)
            return 0
        os.write(write_end, str(pid).encode())
        os._exit(0)
    os.close(write_end)
    with open(read_end, "rb") as pipe:
        told = pipe.read()
    os.waitpid(middle, 0)  # from here on the rank is the supervisor's child
    return int(told)


def _become(request: dict[str, Any], descriptors: list[int]) -> None:
    """From a copy of the parent to a rank."""
    out, err, go = descriptors
    os.setsid()
    os.dup2(out, 1)
    os.dup2(err, 2)
    is_wanted = os.read(go, 1) == GO
    for one in descriptors:
        os.close(one)
    if not is_wanted:
        os._exit(1)
    for name in set(os.environ) - set(request["env"]):
        del os.environ[name]
    for name, value in request["env"].items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    importlib.invalidate_caches()
    _take_own_chance()
    if request["stacks"] is not None:
        dump_stacks_on_signal(request["stacks"])


def _take_own_chance() -> None:
    numpy_random, torch = sys.modules.get("numpy.random"), sys.modules.get("torch")
    process = sys.modules.get("multiprocessing.process")
    if numpy_random is not None:
        numpy_random.seed()
    if torch is not None:
        torch.default_generator.seed()
    if process is not None:
        process.current_process().authkey = os.urandom(32)


def dump_stacks_on_signal(path: str) -> None:
    """So that a hang before the training loop is explained too; a Session registers its own."""
    try:
        file = open(path, "w")  # noqa: SIM115  # stays open: a signal handler writes to it
    except OSError:
        return
    faulthandler.register(signal.SIGUSR2, file=file, all_threads=True)


if __name__ == "__main__":
    _request = serve(socket.socket(fileno=int(sys.argv[1])))
    with Unseen(2):
        run(_request)
