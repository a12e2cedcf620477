"""What it costs to look on: `status` of a long run, a look at a quiet one, news to message.

    python bench/telling.py [--steps 200000]

A journal of so many steps is written, then read as `steadytrain status` and `tell` do. The way from
a line to a message goes through a teller of its own and a local server.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from steadytrain import codec, vitals
from steadytrain import events as ev
from steadytrain.journal import Journal

DOMAINS = ("zh", "en", "code", "math", "law")


def write_run(home: Path, steps: int) -> None:
    """A journal as a run writes it; without its fsyncs, which are not what is measured."""
    folder = home / "journal"
    folder.mkdir(parents=True)
    with open(folder / "rank0.0.jsonl", "wb") as file:
        for seq, event in enumerate(events(steps)):
            head = f'{{"v":1,"seq":{seq},"at":{1.7e9 + seq:.6f},'.encode()
            file.write(head + codec.encode(event)[1:] + b"\n")


def events(steps: int):
    yield ev.RunBegan(
        run="bench", recipe={}, domains=DOMAINS, model="m", parameters=1, world=1,
        draws_per_step=32, steps=steps,
    )  # fmt: skip
    yield ev.AttemptBegan(attempt=1, step=0, draw=0, cause="start")
    for step in range(1, steps + 1):
        yield ev.StepRecord(
            attempt=1, step=step, draw=32 * step - 32, draw_end=32 * step, loss=2.0 + 1 / step,
            nll=(8123.456789, 9123.456789, 7123.456789, 1234.5, 2345.6),
            tokens=(4096, 4096, 4096, 512, 512), bytes=(9000,) * 5, sequences=(8, 8, 8, 4, 4),
            squares=(32.1, 40.2, 28.3, 8.1, 8.2), grad_norm=0.31, update=1e-4, lr=1e-3,
            lr_planned=1e-3, seconds=0.25,
        )  # fmt: skip
        if step % 5000 == 0:
            yield ev.Incident(
                id=f"incident-{step // 5000}", change="opened", attempt=1, step=step, onset=step,
                signals=("loss",), directions=("rise",), score=9.0,
            )  # fmt: skip


def looking(home: Path, steps: int) -> None:
    began, busy = time.perf_counter(), time.process_time()
    found = vitals.read(home)
    whole, own = time.perf_counter() - began, time.process_time() - busy
    assert found.num_updates == steps
    times = []
    for _ in range(200):
        began = time.perf_counter()
        found.refresh()
        times.append(time.perf_counter() - began)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{steps:,} steps read at once: {whole:.2f} s, of the processor {own:.2f} s")
    print(f"a look when nothing is new: {sorted(times)[100] * 1e6:.0f} us (median)")
    print(f"memory at the peak: {memory:.0f} MB")


def news_to_message(home: Path) -> None:
    """From the write of a line to its arrival at a local server."""
    arrived = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            arrived.set()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = os.environ | {
        "STEADYTRAIN_WEBHOOK_URL": f"http://127.0.0.1:{server.server_port}/",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    with Journal(home, "rank0") as book:
        list(map(book.append, list(events(1))))
        teller = subprocess.Popen(
            [sys.executable, "-m", "steadytrain", "tell", str(home), "--to", "webhook"],
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        while not list((home / "journal").glob("tell.*")):
            time.sleep(0.05)
        time.sleep(2.0)
        began = time.perf_counter()
        book.append(ev.JudgingEnded(step=1, reason="bench"))
        arrived.wait(60.0)
        seconds = time.perf_counter() - began
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    time.sleep(10.0)
    teller.terminate()
    teller.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"from a critical line to its message: {seconds:.1f} s (3 s of them gather news)")
    print(f"processor time of a teller's life of some 16 s, its start included: {used:.2f} s")
    server.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        write_run(home / "long", options.steps)
        looking(home / "long", options.steps)
        news_to_message(home / "short")


if __name__ == "__main__":
    main()
