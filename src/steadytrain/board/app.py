"""The live board's server: reads journals, draws nothing, changes nothing but by a person's word.

    GET  /                     the page; everything else it asks for itself
    POST /api/enter            {"token"}: a cookie for this browser
    GET  /api/runs             a glance at every run
    GET  /api/run              one run: glance, marks of the lane, incidents, how it stands
    GET  /api/series, heat, shares      arrays of a window, packed
    GET  /api/incident, texts, looks, machines, data
    GET  /api/stream           server-sent events
    POST /api/word             a person's word to a run; /api/fate: what became of it
    GET  /metrics              every run for Prometheus; the token as a bearer's

`run` is an id from the list, never a path.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import math
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from steadytrain import control, metrics, persons
from steadytrain.board import cases, corpus, lane, looks, machines, passages, pictures, stories
from steadytrain.board.door import Door, cookie_name
from steadytrain.board.glance import glance
from steadytrain.board.library import Library
from steadytrain.board.stream import Hub
from steadytrain.board.watched import Watched
from steadytrain.errors import JournalError, SettingError
from steadytrain.events import BatchExamined
from steadytrain.options import LANGS
from steadytrain.sayings import say
from steadytrain.standing import look

MOST_BODY = 64 << 10
MOST_SERIES = 64
VERBS: tuple[control.Verb, ...] = get_args(control.Verb)
_INLINE = re.compile(r"<script[^>]*type=\"importmap\"[^>]*>(.*?)</script>", re.S)


@dataclass(slots=True)
class Board:
    """What the routes share."""

    library: Library
    token: str | None
    hub: Hub = field(default_factory=Hub)
    counts: dict[str, corpus.Counts] = field(default_factory=dict)
    door: Door | None = None

    def run(self, request: Request) -> Watched:
        """The run that is asked for.

        Raises:
            HTTPException: there is none of this id.
        """
        found = self.library.get(request.query_params.get("run", ""))
        if found is None:
            raise HTTPException(404, "no run of that id is shown here")
        return found

    async def page(self, request: Request) -> Response:
        return HTMLResponse(_index())

    async def enter(self, request: Request) -> Response:
        body = await _body(request)
        assert self.door is not None
        if not self.door.is_token(str(body.get("token", ""))):
            await asyncio.sleep(0.5)  # guessing shall cost time
            raise HTTPException(401, "that is not the token of this board")
        answer = JSONResponse({"entered": True})
        answer.set_cookie(
            cookie_name(request.headers.get("host", "")),
            self.door.cookie(),
            httponly=True,
            samesite="strict",
            path="/",
            max_age=30 * 86_400,
            secure=request.url.scheme == "https",
        )
        return answer

    async def runs(self, request: Request) -> Response:
        found = await asyncio.to_thread(
            lambda: [glance(one) for one in list(self.library.runs.values())]
        )
        return JSONResponse(
            {"runs": found, "may_change": self.token is not None, "now": time.time()}
        )

    async def metrics(self, request: Request) -> Response:
        text = await asyncio.to_thread(self._metrics)
        return Response(text, media_type=metrics.CONTENT_TYPE)

    def _metrics(self) -> str:
        """Of the runs that are read whole: counters that grow while one is read would tell lies."""
        with contextlib.ExitStack() as locks:
            shown = [one for one in list(self.library.runs.values()) if one.is_read]
            for one in shown:
                locks.enter_context(one.lock)
                one.vitals.refresh_ranks()
            return metrics.metrics([one.vitals for one in shown])

    async def one_run(self, request: Request) -> Response:
        lang = _lang(request)

        def told(one: Watched) -> dict[str, Any]:
            return {
                "glance": glance(one),
                "marks": lane.marks(one),
                "lines": stories.lines(one, lang),
                "standing": cases.standing(one, lang),
                "began": _began(one),
                "bad": [{"file": bad.file, "why": bad.why} for bad in one.news.bad],
                "may_change": self.token is not None,
            }

        return await self._locked(request, told)

    async def series(self, request: Request) -> Response:
        names = [one for one in request.query_params.get("names", "loss").split("\x1f") if one]
        if len(names) > MOST_SERIES:
            raise HTTPException(400, f"at most {MOST_SERIES} series are given at once")
        window = _window(request)

        def drawn(one: Watched) -> bytes:
            try:
                return pictures.picture(one.track, names, window)
            except KeyError as error:
                raise HTTPException(404, f"this run has no series {error}") from error

        return await self._packed(request, drawn)

    async def heat(self, request: Request) -> Response:
        window = _window(request)
        return await self._packed(request, lambda one: pictures.heat(one.track, window))

    async def shares(self, request: Request) -> Response:
        window = _window(request)
        return await self._packed(request, lambda one: pictures.shares(one.track, window))

    async def incident(self, request: Request) -> Response:
        name, lang = request.query_params.get("id", ""), _lang(request)

        def told(one: Watched) -> dict[str, Any]:
            try:
                return cases.incident(one, name, lang)
            except KeyError as error:
                raise HTTPException(404, f"this run has no incident {error}") from error

        return await self._locked(request, told)

    async def texts(self, request: Request) -> Response:
        """Sequences of one examination, named by its place among the run's events."""
        one = self.run(request)
        number = _whole(request, "n")
        with one.lock:
            known = number is not None and 0 <= number < len(one.events)
            event = one.events[number].event if known and number is not None else None
        if not isinstance(event, BatchExamined) or event.path is None:
            raise HTTPException(404, "no examination of that number kept its texts")
        path = event.path
        try:
            found = await asyncio.to_thread(passages.passages, one.home, path, _lang(request))
        except JournalError as error:
            raise HTTPException(404, str(error)) from error
        return JSONResponse({"sequences": found})

    async def looks(self, request: Request) -> Response:
        lang = _lang(request)
        return await self._locked(request, lambda one: looks.looks(one, lang))

    async def machines(self, request: Request) -> Response:
        lang = _lang(request)
        return await self._locked(request, lambda one: machines.machines(one, lang))

    async def data(self, request: Request) -> Response:
        one, lang = self.run(request), _lang(request)
        counts = self.counts.setdefault(one.id, corpus.Counts())

        def told() -> dict[str, Any]:
            with contextlib.suppress(OSError):
                counts.catch_up(one.home)
            with one.lock:
                found = corpus.corpus(one, counts, lang)
            return found | {"lints": corpus.lints(self.library.roots, lang)}

        return JSONResponse(await asyncio.to_thread(told))

    async def stream(self, request: Request) -> Response:
        name = request.query_params.get("run")
        last = request.headers.get("last-event-id") or request.query_params.get("last", "")
        if name is None:
            news = self.hub.all_news(self.library)
        else:
            news = self.hub.news(self.library, self.run(request).id, last, _lang(request))
        return StreamingResponse(
            news, media_type="text/event-stream", headers={"x-accel-buffering": "no"}
        )

    async def word(self, request: Request) -> Response:
        """Say a person's word; what the run would refuse is refused here, in the same words."""
        one = self.run(request)
        body = await _body(request)
        said = {
            key: str(body[key])
            for key in ("remedy", "plan", "incident", "why", "name")
            if body.get(key) not in (None, "")
        }
        verb = body.get("verb")
        if verb not in VERBS:
            raise HTTPException(400, f"a word is one of {', '.join(VERBS)}")

        def send() -> str | None:
            word = persons.compose(one.home, look(one.home), verb=verb, **said)
            return None if body.get("try") is True else control.send(one.home, word)

        try:
            name = await asyncio.to_thread(send)
        except (SettingError, JournalError) as error:
            raise HTTPException(422, say(str(error), _lang(request))) from error
        return JSONResponse({"id": name})

    async def fate(self, request: Request) -> Response:
        name = request.query_params.get("id", "")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", name):
            raise HTTPException(400, "that is no id of a word")
        found = control.fate(self.run(request).home, name)
        return JSONResponse({"state": found.state, "why": say(found.why, _lang(request))})

    async def _locked(
        self, request: Request, told: Callable[[Watched], dict[str, Any]]
    ) -> Response:
        one = self.run(request)

        def hold() -> dict[str, Any]:
            with one.lock:
                return told(one)

        return JSONResponse(await asyncio.to_thread(hold))

    async def _packed(self, request: Request, drawn: Callable[[Watched], bytes]) -> Response:
        one = self.run(request)

        def hold() -> bytes:
            with one.lock:
                return drawn(one)

        return Response(await asyncio.to_thread(hold), media_type="application/octet-stream")


def make_app(
    roots: Sequence[Path], *, token: str | None, hosts: frozenset[str] = frozenset()
) -> Door:
    """The board of these folders.

    Args:
        token: None to let everybody look, and nobody change anything.
        hosts: names beside the loopback's under which it may be asked for.
    """
    library = Library(roots)
    board = Board(library=library, token=token)
    library.tell = board.hub.tell
    api = (
        ("/api/runs", board.runs), ("/api/run", board.one_run), ("/api/series", board.series),
        ("/api/heat", board.heat), ("/api/shares", board.shares), ("/api/texts", board.texts),
        ("/api/incident", board.incident), ("/api/looks", board.looks),
        ("/api/machines", board.machines), ("/api/data", board.data), ("/api/fate", board.fate),
        ("/api/stream", board.stream), ("/metrics", board.metrics), ("/", board.page),
    )  # fmt: skip
    here = resources.files("steadytrain.board")
    routes: list[Any] = [Route(path, answer) for path, answer in api]
    routes += [
        Route("/api/enter", board.enter, methods=["POST"]),
        Route("/api/word", board.word, methods=["POST"]),
        Mount("/static", StaticFiles(directory=str(here / "static"))),
        Mount("/vendor", StaticFiles(directory=str(here / "vendor"))),
    ]

    @contextlib.asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        board.hub.loop = asyncio.get_running_loop()
        library.start()
        try:
            yield
        finally:
            board.hub.close()
            library.stop()

    app = Starlette(routes=routes, lifespan=life, exception_handlers={HTTPException: _told_wrong})
    door = Door(app, token, hosts, _script_hashes())
    board.door = door
    return door


def _began(one: Watched) -> dict[str, Any] | None:
    began = one.began
    if began is None:
        return None
    return {
        "versions": began.versions,
        "draws_per_step": began.draws_per_step,
        "model": began.model,
        "order": began.order,
        "panel": began.panel,
        "recipe": json.loads(json.dumps(began.recipe, default=str)),
    }


def _window(request: Request) -> pictures.Window:
    asked = request.query_params
    axis = asked.get("axis", "step")
    if axis not in pictures.AXES:
        raise HTTPException(400, f"an axis is one of {', '.join(pictures.AXES)}")
    columns = _whole(request, "columns")
    return pictures.Window(
        axis=axis,
        first=_number(request, "first"),
        last=_number(request, "last"),
        columns=min(pictures.MOST_COLUMNS, max(2, columns if columns is not None else 800)),
        span=min(1e6, max(0.0, _number(request, "span") or 0.0)),
    )


def _number(request: Request, name: str) -> float | None:
    text = request.query_params.get(name)
    if text is None or text == "":
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise HTTPException(400, f"{name} is no number") from error
    if not math.isfinite(value):
        raise HTTPException(400, f"{name} is no finite number")
    return value


def _whole(request: Request, name: str) -> int | None:
    value = _number(request, name)
    return None if value is None else int(max(-1e9, min(1e9, value)))


def _lang(request: Request) -> str:
    lang = request.query_params.get("lang", "en")
    return lang if lang in LANGS else "en"


async def _body(request: Request) -> dict[str, Any]:
    whole = b""
    async for part in request.stream():
        whole += part
        if len(whole) > MOST_BODY:
            raise HTTPException(413, f"at most {MOST_BODY} bytes are read")
    try:
        found = json.loads(whole)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "the body is no JSON") from error
    if not isinstance(found, dict):
        raise HTTPException(400, "the body is no JSON object")
    return found


async def _told_wrong(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"why": error.detail}, status_code=error.status_code)


def _index() -> str:
    return (resources.files("steadytrain.board") / "static/index.html").read_text(encoding="utf-8")


def _script_hashes() -> tuple[str, ...]:
    """Of the import map, the one script that stands in the page itself."""
    digests = (hashlib.sha256(body.encode()).digest() for body in _INLINE.findall(_index()))
    return tuple(f"sha256-{base64.b64encode(digest).decode()}" for digest in digests)
