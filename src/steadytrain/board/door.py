"""Who may come in: the token, the host that was asked for, and where a request comes from.

Training text is private, and other accounts of a machine can reach its loopback address: so even
looking needs the token, unless the board was started without one, and then nothing can be changed.

  host      only names that lead here are answered, so that a page of another site whose name was
            turned to 127.0.0.1 (DNS rebinding) gets nothing
  cookie    HttpOnly and SameSite=Strict, made from the token; it never holds the token itself
  changes   also need a header that no form can send and an origin of this board (CSRF)
  pages     run scripts of this board alone, and are framed by nobody
"""

import hashlib
import hmac
import ipaddress
import os
import secrets
import stat
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse

from steadytrain.errors import SettingError

HEADER = "x-steadytrain"
"""A change carries it: pages of other sites cannot send it without being asked first."""

OPEN_PATHS = ("/static/", "/vendor/")
ENTER = "/api/enter"
LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(slots=True)
class Door:
    """An ASGI middleware.

    Args:
        token: what a browser must bring; None to let everybody look, and nobody change.
        hosts: names under which this board may be asked for, beside the loopback's.
    """

    app: Any
    token: str | None
    hosts: frozenset[str] = field(default_factory=frozenset)
    script_hashes: tuple[str, ...] = ()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)

        async def send_guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self._guard(MutableHeaders(scope=message), scope["path"])
            await send(message)

        if refusal is not None:
            await refusal(scope, receive, send_guarded)
            return
        scope.setdefault("state", {})["may_change"] = self.token is not None
        await self.app(scope, receive, send_guarded)

    def cookie(self) -> str:
        """What a browser that brought the token keeps."""
        assert self.token is not None
        return hmac.new(self.token.encode(), b"steadytrain board", hashlib.sha256).hexdigest()

    def is_token(self, given: str) -> bool:
        return self.token is not None and hmac.compare_digest(
            given.encode("utf-8", "surrogatepass"), self.token.encode()
        )

    def _refusal(self, scope: dict[str, Any], headers: Headers) -> JSONResponse | None:
        host = headers.get("host", "")
        if not self._is_own(host):
            return _refused(421, "host", "this board does not answer to that name")
        path, method = scope["path"], scope["method"]
        if method not in ("GET", "HEAD", "POST"):
            return _refused(405, "method", "GET and POST alone are understood")
        if method == "POST":
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc != host:
                return _refused(403, "origin", "the request comes from a page of another site")
            if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
                return _refused(403, "origin", "the request comes from a page of another site")
            if headers.get(HEADER) is None:
                return _refused(403, "origin", f"a change needs the header {HEADER}")
        if path == "/" or path.startswith(OPEN_PATHS) or path == ENTER:
            return None
        if self.token is None:
            if method == "POST":
                return _refused(403, "read only", "this board was started to be looked at only")
            return None
        if self._has_entered(headers):
            return None
        return _refused(401, "token", "open the address that the board printed when it started")

    def _has_entered(self, headers: Headers) -> bool:
        bearer = headers.get("authorization", "")
        if bearer.startswith("Bearer ") and self.is_token(bearer[7:]):
            return True
        given = cookie_parser(headers.get("cookie", "")).get(cookie_name(headers.get("host", "")))
        return given is not None and hmac.compare_digest(given.encode(), self.cookie().encode())

    def _is_own(self, host: str) -> bool:
        name = _host_name(host)
        return name in LOOPBACK or name in self.hosts

    def _guard(self, headers: MutableHeaders, path: str) -> None:
        scripts = " ".join(f"'{one}'" for one in self.script_hashes)
        headers["content-security-policy"] = (
            f"default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; "
            "img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; "
            "form-action 'none'; frame-ancestors 'none'"
        )
        headers["x-content-type-options"] = "nosniff"
        headers["referrer-policy"] = "no-referrer"
        headers["cross-origin-opener-policy"] = "same-origin"
        headers["cross-origin-resource-policy"] = "same-origin"
        if "cache-control" not in headers:
            headers["cache-control"] = "no-cache" if path.startswith(OPEN_PATHS) else "no-store"


def cookie_name(host: str) -> str:
    """Cookies do not know ports: two boards on one host must not take each other's."""
    port = host.rpartition(":")[2]
    return f"steadytrain_{port}" if port.isdigit() else "steadytrain"


def new_token() -> str:
    return secrets.token_urlsafe(24)


def kept_token(path: Path) -> str:
    """The token in a file that only its owner reads; made if there is none.

    Raises:
        SettingError: others can read it, or it cannot be read or made.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(file, "w") as out:
                out.write(new_token() + "\n")
        state = path.stat()
        if stat.S_IMODE(state.st_mode) & 0o077:
            raise SettingError(
                f"{path} can be read by other accounts, so its token is no secret. "
                f"Write: chmod 600 {path}"
            )
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(
            f"{path} cannot be read or made ({error}), so there is no token. Name another file."
        ) from error
    if len(token) < 16:
        raise SettingError(
            f"{path} holds fewer than 16 characters, which can be guessed. Delete it."
        )
    return token


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def host_names(hosts: Iterable[str]) -> frozenset[str]:
    return frozenset(_host_name(one) for one in hosts)


def _host_name(host: str) -> str:
    """A Host header without its port, in small letters."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _refused(status: int, what: str, why: str) -> JSONResponse:
    return JSONResponse({"error": what, "why": why}, status_code=status)
