"""Journals that are written line by line, and a board that serves them, for the board's tests."""

import contextlib
import http.client
import json
import socket
import struct
import threading
import time
from pathlib import Path

import numpy as np
import uvicorn

from steadytrain import codec
from steadytrain import events as ev
from steadytrain.board.app import make_app

TOKEN = "the-token-of-the-tests-0123456789"
DOMAINS = ("zh", "en")


class Writer:
    """Appends events to a journal without judging them; a clock that ticks a second a line."""

    def __init__(self, home: Path, writer: str = "rank0", *, at: float | None = None) -> None:
        self.home, self.writer = home, writer
        self.at = time.time() - 1000.0 if at is None else at
        self.number, self.seq = 0, -1
        (home / "journal").mkdir(parents=True, exist_ok=True)

    @property
    def path(self) -> Path:
        return self.home / "journal" / f"{self.writer}.{self.number}.jsonl"

    def add(self, *events: ev.Event) -> None:
        with open(self.path, "ab") as file:
            for event in events:
                file.write(self.line(event))

    def line(self, event: ev.Event) -> bytes:
        self.seq += 1
        self.at += 1.0
        envelope = f'{{"v":1,"seq":{self.seq},"at":{self.at:.6f},'
        return envelope.encode() + codec.encode(event)[1:] + b"\n"

    def tear(self, part: bytes = b'{"v":1,"seq":99,"at":1.0,"kind":"StepRec') -> None:
        with open(self.path, "ab") as file:
            file.write(part)

    def rotate(self) -> None:
        self.number += 1


def began(name: str = "r1", *, steps: int | None = 1000, mode: str = "act", **more) -> ev.RunBegan:
    return ev.RunBegan(
        run=name, recipe={"treatment": {"mode": mode}}, domains=DOMAINS, model="m",
        parameters=1000, world=1, draws_per_step=8, steps=steps, **more,
    )  # fmt: skip


def start() -> ev.AttemptBegan:
    return ev.AttemptBegan(attempt=1, step=0, draw=0, cause="start")


def step(number: int, losses=(2.0, 3.0), *, tokens=(100, 300), **more) -> ev.StepRecord:
    nll = tuple(loss * count for loss, count in zip(losses, tokens, strict=True))
    told = {"grad_norm": 0.5, "update": 1e-4, "lr": 1e-3, "lr_planned": 1e-3, "seconds": 1.0}
    told |= {"loss": sum(nll) / max(1, sum(tokens)), "attempt": 1} | more
    return ev.StepRecord(
        step=number, draw=8 * (number - 1), draw_end=8 * number, nll=nll, tokens=tokens,
        bytes=tokens, sequences=(4, 4), squares=(4.0, 4.0), **told,
    )  # fmt: skip


def write_run(home: Path, steps: int = 20, **more) -> Writer:
    writer = Writer(home)
    writer.add(began(home.name, **more), start(), *(step(at) for at in range(1, steps + 1)))
    return writer


def write_incident(home: Path, *, mode: str = "act", text: str = "\n" * 40) -> Writer:
    """A run with an open incident, evidence and (in the mode "ask") a proposal."""
    writer = write_run(home, 40, mode=mode)
    sequence = ev.ExaminedSequence(
        draw=300, step=38, domain=0, loss=9.0, z=12.0, verdict="corrupt", defect="blank",
        evidence="0 of 40 characters are visible", source="a/b.txt:7",
    )  # fmt: skip
    writer.add(
        ev.Alarm(attempt=1, step=38, signal="loss:zh", direction="rise", value=9.0, expected=2.0,
                 score=31.0),
        ev.Incident(id="incident-1", change="opened", attempt=1, step=38, onset=37,
                    signals=("loss:zh",), directions=("rise",), score=31.0, examine_at=40),
        ev.BatchExamined(incident="incident-1", attempt=1, step=39, sequences=(sequence,),
                         flagged=((300, 304),), defect="blank", sources=(("a/b.txt", 3),),
                         scanned=64, path="incidents/incident-1/sequences-39.json"),
        ev.Diagnosis(incident="incident-1", step=39, causes=(
            ev.Cause(name="bad text", confidence=0.95, evidence=("8 of 8 are corrupt",),
                     refuted_by="clean text", domain="zh", defect="blank"),
            ev.Cause(name="instability", confidence=0.4, against=("another batch is healthy",)),
        )),
    )  # fmt: skip
    folder = home / "incidents" / "incident-1"
    folder.mkdir(parents=True)
    told = {"draw": 300, "step": 38, "domain": "zh", "source": "a/b.txt:7", "loss": 9.0, "z": 12.0,
            "verdict": "corrupt", "defect": "blank", "evidence": "0 of 40 characters are visible",
            "role": "suspect", "text": text}  # fmt: skip
    (folder / "sequences-39.json").write_text(json.dumps([told]))
    return writer


class Served:
    """A board in a thread of this process, and a client of it."""

    def __init__(self, root: Path, *, token: str | None = TOKEN, hosts=frozenset()) -> None:
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.app = make_app([root], token=token, hosts=hosts)
        self.server = uvicorn.Server(
            uvicorn.Config(self.app, log_level="critical", lifespan="on", ws="none",
                           timeout_graceful_shutdown=1)
        )  # fmt: skip
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "Served":
        self.thread.start()
        until(lambda: self.server.started)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(timeout=10)
        self.listener.close()

    def ask(self, path: str, *, method: str = "GET", body=None, headers=None, token=TOKEN):
        """(status, headers, body) of one request."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        told = {"Authorization": f"Bearer {token}"} if token else {}
        told |= {"X-Steadytrain": "1"} if method == "POST" else {}
        told |= headers or {}
        with contextlib.closing(line):
            line.request(method, path, body=None if body is None else json.dumps(body),
                         headers={k: v for k, v in told.items() if v is not None})  # fmt: skip
            answer = line.getresponse()
            return answer.status, answer.headers, answer.read()

    def json(self, path: str, **more):
        status, _, body = self.ask(path, **more)
        assert status == 200, body
        return json.loads(body)

    def has_read(self, *names: str) -> None:
        """Wait until these runs are read whole."""
        until(
            lambda: (
                set(names) <= {r["id"] for r in self.json("/api/runs")["runs"] if r["read"] is None}
            )
        )


def until(is_so, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def unpack(body: bytes):
    """Header and arrays of a packed answer."""
    (size,) = struct.unpack("<I", body[:4])
    header = json.loads(body[4 : 4 + size])
    at, found = 4 + size, []
    for kind, shape in header["arrays"]:
        one = np.frombuffer(body, kind, int(np.prod(shape)), at).reshape(shape)
        at += -(-one.nbytes // 8) * 8
        found.append(one)
    assert at == len(body)
    return header, found
