"""The live board: 1,000,000 points of 10 series to the first picture, a zoom, memory, live lag,
50 runs and 100 readers; one spike of one step in 250,000, drawn.

Beside it, on the same values: TensorBoard's HTTP server and trackio, where they are installed
(`--peers`). Each number is of this machine, as it is now: `--json` writes them with its load.
"""

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import machine

TOKEN = "a-token-that-only-this-bench-knows"
DOMAINS = ("zh", "en", "code", "math", "law")


def main() -> None:
    options = _options()
    home = Path(tempfile.mkdtemp(prefix="board-"))
    print(machine.line(), file=sys.stderr)
    found: dict[str, object] = {"load": round(os.getloadavg()[0], 1)}
    try:
        warm_up(home / "warm")
        for name in options.only.split(","):
            found |= PARTS[name](home / name, options)
            print(f"{name}: {json.dumps(found, default=str)}", file=sys.stderr)
        if options.peers:
            found |= peers(home / "peers", options.peers, options.steps)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    for name, value in found.items():
        print(f"{name:44} {value}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1, default=str))


def warm_up(home: Path) -> None:
    """A first start writes the bytecode that an installed package has."""
    home.mkdir()
    with Board(home) as board:
        board.until("/api/runs", bool)


def million(home: Path, options: argparse.Namespace) -> dict[str, object]:
    """100,000 steps x 10 series: loss of five domains and their mean, norm, update, rate, speed."""
    write_run(home / "long", options.steps)
    size = sum(path.stat().st_size for path in (home / "long" / "journal").glob("*.jsonl"))
    with Board(home) as board:
        query = "/api/series?run=long&names=" + "%1f".join(all_names()) + "&columns=1000"
        board.until("/api/runs", lambda body: _are_read(body, 1))
        assert header(board.get(query))["rows"] == options.steps
        first = time.perf_counter() - board.begun
        cpu = board.processor()
        times = []
        rng = np.random.default_rng(0)
        for _ in range(60):
            wide = int(options.steps * rng.choice([0.5, 0.1, 0.01]))
            begin = int(rng.integers(0, options.steps - wide))
            times.append(board.took(f"{query}&first={begin}&last={begin + wide}&span=50"))
        whole = [board.took(f"{query}&span=50") for _ in range(10)]
        before = board.processor()
        for _ in range(20):
            board.get(f"{query}&span=50&first={options.steps // 3}&last={options.steps // 2}")
        zoom_cpu = (board.processor() - before) / 20
        heat = board.took("/api/heat?run=long&columns=1000")
        again = [board.took("/api/heat?run=long&columns=1000") for _ in range(10)]
        return {
            "journal [MB]": round(size / 1e6, 1),
            "start to first whole picture [s]": round(first, 2),
            "processor time until then [s]": round(cpu, 2),
            "zoom, processor time [ms]": _ms(zoom_cpu),
            "zoom, median of 60 [ms]": _ms(np.median(times)),
            "zoom, slowest of 60 [ms]": _ms(max(times)),
            "whole picture, smoothed, median [ms]": _ms(np.median(whole)),
            "heat strip, first and then [ms]": [_ms(heat), _ms(np.median(again))],
            "memory [MB]": board.memory(),
        }


def spike(home: Path, _: argparse.Namespace) -> dict[str, object]:
    """One step in 250,000: is it in the widest picture, and does a zoom show its very step?"""
    steps, at = 250_000, 137_421
    write_run(home / "spiky", steps, spike_at=at, domains=DOMAINS[:1])
    with Board(home) as board:
        query = "/api/series?run=spiky&names=loss&columns=800"
        board.until(query, lambda body: header(body)["rows"] >= steps)
        x, y = arrays(board.get(query))[:2]
        top = int(np.nanargmax(y[0]))
        zoom = arrays(board.get(f"{query}&first={at - 300}&last={at + 300}"))
        exact = int(zoom[0][int(np.nanargmax(zoom[1][0]))])
        return {
            "spike in the picture of 250,000 steps": float(y[0][top]),
            "drawn at, and by zoom at exactly": [int(x[top]), exact],
        }


def live(home: Path, options: argparse.Namespace) -> dict[str, object]:
    """50 runs open, one of them written to; 100 readers of its stream: from append to arrival."""
    for number in range(50):
        write_run(home / f"r{number:02}", 2_000, domains=DOMAINS[:2])
    with Board(home) as board:
        board.until("/api/runs", lambda body: _are_read(body, 50))
        lags = asyncio.run(_lags(board, home / "r07", readers=100, seconds=options.seconds))
        return {
            "live lag, 50 runs, 100 readers, median [s]": round(float(np.median(lags)), 2),
            "live lag, 99 % [s]": round(float(np.quantile(lags, 0.99)), 2),
            "messages": len(lags),
            "memory, 50 runs, 100 readers [MB]": board.memory(),
        }


def _are_read(body: bytes, count: int) -> bool:
    runs = json.loads(body)["runs"]
    return len(runs) == count and all(run["read"] is None for run in runs)


async def _lags(board: "Board", home: Path, *, readers: int, seconds: float) -> list[float]:
    """Seconds from the append of a step to its arrival, over all readers."""
    appended: dict[int, float] = {}
    lags: list[float] = []
    stop = threading.Event()

    def write() -> None:
        with open(home / "journal" / "rank0.0.jsonl", "ab", buffering=0) as file:
            step = 2_000
            while not stop.is_set():
                step += 1
                file.write(step_line(step, 2.0, DOMAINS[:2]))
                appended[step] = time.time()
                time.sleep(0.2)

    async def hear() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", board.port)
        writer.write(
            f"GET /api/stream?run=r07 HTTP/1.1\r\nHost: 127.0.0.1:{board.port}\r\n"
            f"Authorization: Bearer {TOKEN}\r\n\r\n".encode()
        )
        newest = 0
        while not stop.is_set():
            line = await reader.readline()
            if line.startswith(b"data: ") and b'"glance"' in line:
                step = json.loads(line[6:])["glance"]["step"]
                # The oldest step that this message brings waited longest.
                if newest and step > newest and newest + 1 in appended:
                    lags.append(time.time() - appended[newest + 1])
                newest = max(newest, step)
        writer.close()

    thread = threading.Thread(target=write)
    tasks = [asyncio.create_task(hear()) for _ in range(readers)]
    await asyncio.sleep(3)
    thread.start()
    await asyncio.sleep(seconds)
    stop.set()
    thread.join()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return lags


class Board:
    """`steadytrain board` as a process of its own, and a client of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def __enter__(self) -> "Board":
        secret = self.root / "token"
        secret.write_text(TOKEN)
        secret.chmod(0o600)
        self.begun = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "steadytrain", "board", str(self.root), "--port", str(self.port),
             "--token-file", str(secret)], stdout=subprocess.DEVNULL,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": ""},
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=10)
        self.process.kill()

    def get(self, path: str) -> bytes:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        line.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
        answer = line.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise ConnectionError(f"{answer.status}: {body[:200]!r}")
        return body

    def took(self, path: str) -> float:
        begun = time.perf_counter()
        self.get(path)
        return time.perf_counter() - begun

    def until(self, path: str, is_good) -> float:
        """Seconds from the start of the process to an answer that is good."""
        while True:
            with contextlib.suppress(ConnectionError, OSError):
                if is_good(self.get(path)):
                    return time.perf_counter() - self.begun
            time.sleep(0.05)

    def processor(self) -> float:
        """Processor time of the board so far. [s]"""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Largest resident set so far. [MB]"""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1000)
        return 0


def write_run(
    home: Path, steps: int, *, spike_at: int | None = None, domains: tuple[str, ...] = DOMAINS
) -> None:
    """A made-up run: a falling loss with noise."""
    folder = home / "journal"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    losses = 2.0 + 4.0 / np.sqrt(1.0 + np.arange(steps) / 50.0) + 0.03 * rng.standard_normal(steps)
    if spike_at is not None:
        losses[spike_at - 1] = 9.0
    with open(folder / "rank0.0.jsonl", "wb") as out:
        out.write(
            _line(0, {"kind": "RunBegan", "run": home.name, "recipe": {}, "domains": list(domains),
                      "model": "m", "parameters": 10**8, "world": 8, "draws_per_step": 64,
                      "steps": 2 * steps})
        )  # fmt: skip
        began = {"kind": "AttemptBegan", "attempt": 1, "step": 0, "draw": 0, "cause": "start"}
        out.write(_line(1, began))
        for at, loss in enumerate(losses.tolist()):
            out.write(step_line(at + 1, loss, domains))


def step_line(step: int, loss: float, domains: tuple[str, ...]) -> bytes:
    count = len(domains)
    return _line(
        step + 1,
        {
            "kind": "StepRecord", "attempt": 1, "step": step, "draw": 64 * (step - 1),
            "draw_end": 64 * step, "loss": loss,
            "nll": [8192 * (loss + 0.1 * at) for at in range(count)], "tokens": [8192] * count,
            "bytes": [30_000] * count, "sequences": [13] * count,
            "squares": [13 * loss * loss] * count, "grad_norm": 0.2 + 0.01 * (step % 7),
            "update": 1e-4, "lr": 3e-4, "lr_planned": 3e-4, "seconds": 0.5,
        },
    )  # fmt: skip


def _line(seq: int, event: dict[str, object]) -> bytes:
    body = json.dumps(event, separators=(",", ":"))
    return f'{{"v":1,"seq":{seq},"at":{1.79e9 + 0.5 * seq:.6f},{body[1:]}\n'.encode()


def all_names() -> list[str]:
    return ["loss", *(f"loss:{one}" for one in DOMAINS), "grad_norm", "lr", "tokens%2Fs", "update"]


def header(body: bytes) -> dict[str, object]:
    (size,) = struct.unpack("<I", body[:4])
    return json.loads(body[4 : 4 + size])


def arrays(body: bytes) -> list[np.ndarray]:
    (size,) = struct.unpack("<I", body[:4])
    at, found = 4 + size, []
    for kind, shape in header(body)["arrays"]:
        one = np.frombuffer(body, kind, int(np.prod(shape)), at).reshape(shape)
        at += -(-one.nbytes // 8) * 8
        found.append(one)
    return found


def peers(home: Path, python: str, steps: int) -> dict[str, object]:
    """The same values in TensorBoard and trackio, by an interpreter that has them."""
    home.mkdir(parents=True)
    found: dict[str, object] = {}
    for name, part in (("TensorBoard", tensorboard), ("trackio", trackio)):
        try:
            found |= {f"{name}: {key}": value for key, value in part(home, python, steps).items()}
        except (OSError, subprocess.SubprocessError) as error:
            found[f"{name}"] = f"not measured: {error}"
    return found


WRITE_EVENTS = """
import sys, numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
folder, steps, tags, spike = sys.argv[1], int(sys.argv[2]), sys.argv[3].split(","), int(sys.argv[4])
out = EventFileWriter(folder)
for step in range(1, steps + 1):
    values = [Summary.Value(tag=one, simple_value=9.0 if step == spike else 2.0) for one in tags]
    out.add_event(Event(step=step, wall_time=step, summary=Summary(value=values)))
out.close()
"""


def tensorboard(home: Path, python: str, steps: int) -> dict[str, object]:
    tags = [f"s{n}" for n in range(10)]
    folder, spiky = home / "tb" / "long", home / "tb" / "spiky"
    for args in ((folder, steps, ",".join(tags), 0), (spiky, 250_000, "loss", 137_421)):
        subprocess.run([python, "-c", WRITE_EVENTS, *map(str, args)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def get(tag: str, run: str) -> list[list[float]]:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        line.request("GET", f"/data/plugin/scalars/scalars?run={run}&tag={tag}")
        answer = line.getresponse()
        body = answer.read()
        return json.loads(body) if answer.status == 200 else []

    begun = time.perf_counter()
    process = subprocess.Popen(
        [python, "-m", "tensorboard.main", "--logdir", str(home / "tb"), "--port", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        while True:
            with contextlib.suppress(OSError):
                if (points := get("s9", "long")) and points[-1][1] >= steps:
                    break
            time.sleep(0.05)
        first = time.perf_counter() - begun
        begun = time.perf_counter()
        points = [get(tag, "long") for tag in tags]
        whole = time.perf_counter() - begun
        kept = get("loss", "spiky")
        return {
            "start to the first whole series [s]": round(first, 2),
            "10 series [ms]": _ms(whole),
            "points kept of a series": len(points[0]),
            "highest value shown, of a spike of 9.0": max(one[2] for one in kept),
        }
    finally:
        os.killpg(process.pid, signal.SIGTERM)


WRITE_TRACKIO = """
import sys
from trackio.sqlite_storage import SQLiteStorage
steps, spike = int(sys.argv[1]), int(sys.argv[2])
names = ["loss"] if spike else [f"s{n}" for n in range(10)]
for first in range(1, steps + 1, 10_000):
    span = range(first, min(first + 10_000, steps + 1))
    rows = [{name: 9.0 if step == spike else 2.0 for name in names} for step in span]
    SQLiteStorage.bulk_log("p", "spiky" if spike else "long", rows, steps=list(span))
"""
READ_TRACKIO = """
import sys, time
from trackio.sqlite_storage import SQLiteStorage
begun = time.perf_counter()
rows = SQLiteStorage.get_logs("p", sys.argv[1], max_points=3000)
took = time.perf_counter() - begun
print(took, len(rows), max(row.get("loss", 0.0) for row in rows))
"""


def trackio(home: Path, python: str, steps: int) -> dict[str, object]:
    env = os.environ | {"TRACKIO_DIR": str(home / "trackio")}
    for args in ((steps, 0), (250_000, 137_421)):
        subprocess.run([python, "-c", WRITE_TRACKIO, *map(str, args)], check=True, env=env)

    def read(run: str) -> list[str]:
        command = [python, "-c", READ_TRACKIO, run]
        return subprocess.run(command, check=True, env=env, capture_output=True, text=True).stdout.split()  # fmt: skip

    took, points, _ = read("long")
    return {
        "10 series of 3,000 points, without HTTP [ms]": _ms(float(took)),
        "points kept of a series": int(points),
        "highest value shown, of a spike of 9.0": float(read("spiky")[2]),
    }


def _ms(seconds: float) -> float:
    return round(1000 * float(seconds), 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="million,spike,live", help="parts, by comma")
    parser.add_argument("--steps", type=int, default=100_000, help="of the long run")
    parser.add_argument("--seconds", type=float, default=10.0, help="of the live part")
    parser.add_argument("--peers", metavar="PYTHON", help="that has tensorboard and trackio")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


PARTS = {"million": million, "spike": spike, "live": live}

if __name__ == "__main__":
    main()
