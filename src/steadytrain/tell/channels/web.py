"""Posting to a web service: time limits, proxies, no redirects, and what went wrong in plain words.

The proxy variables of the environment are honoured (https_proxy, no_proxy), and SSL_CERT_FILE for a
house's own certificates. A redirect is refused: it would carry the secret to a place that nobody
wrote down.
"""

import email.utils
import http.client
import ipaddress
import json
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from steadytrain.errors import SettingError
from steadytrain.tell.message import Answer, Arrived, Refused, TryAgain, clean, cut

TIMEOUT = 10.0
"""Of connecting, and of each part of an answer; three times that for all of it. [seconds]"""

MOST_ANSWER = 64 * 2**10
LONGEST_WAIT = 3600.0
"""A Retry-After beyond this is not believed. [seconds]"""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with a good status."""

    status: int
    body: bytes

    def fields(self) -> dict[str, Any] | None:
        """The JSON object in it; None if it is none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def number(self, *names: str) -> int | None:
        """The first of these fields that is there, as a number."""
        found = self.fields() or {}
        value = next((found[one] for one in names if one in found), None)
        return value if isinstance(value, int) else None

    def words(self) -> str:
        """The beginning of it, to be shown."""
        return excerpt(self.body)


def robot_answer(
    reply: Reply | TryAgain | Refused,
    *fields: str,
    maker: str,
    busy: Container[int],
    explain: Callable[[int, str], str],
) -> Answer:
    """What a group's robot says: its answer holds a code, and 0 is well.

    Args:
        fields: names of the code; the first that is there counts.
        busy: codes that pass by themselves.
        explain: (code, the answer's own words) -> words for people.
    """
    if isinstance(reply, TryAgain | Refused):
        return reply
    code = reply.number(*fields)
    if code is None:
        return Refused(f"this is no robot of {maker}: {reply.words()}")
    if code == 0:
        return Arrived()
    said = f"{code}: {explain(code, reply.words())}"
    return TryAgain(said, 60.0) if code in busy else Refused(said)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class Web:
    """Posts to addresses."""

    timeout: float = TIMEOUT
    clock: Callable[[], float] = time.time
    _opener: urllib.request.OpenerDirector = field(
        default_factory=lambda: urllib.request.build_opener(_NoRedirect)
    )

    def post(
        self, url: str, payload: object, headers: Mapping[str, str] | None = None
    ) -> Reply | TryAgain | Refused:
        """Post an object as JSON."""
        body = payload if isinstance(payload, bytes) else encode(payload)
        told = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "steadytrain"}
        request = urllib.request.Request(url, data=body, headers=told | dict(headers or {}))
        try:
            with self._opener.open(request, timeout=self.timeout) as answer:
                return Reply(answer.status, self._read(answer))
        except urllib.error.HTTPError as error:
            with error:
                return self._bad_status(error)
        except urllib.error.URLError as error:
            return _unreachable(error.reason, self.timeout)
        except (OSError, http.client.HTTPException) as error:
            return _unreachable(error, self.timeout)

    def _read(self, answer: Any) -> bytes:
        end = time.monotonic() + 3 * self.timeout
        body = b""
        while len(body) < MOST_ANSWER:
            block = answer.read1(MOST_ANSWER)
            if not block:
                break
            body += block
            if time.monotonic() > end:
                raise TimeoutError("the answer trickles")
        return body

    def _bad_status(self, error: urllib.error.HTTPError) -> TryAgain | Refused:
        try:
            said = excerpt(self._read(error))
        except (OSError, http.client.HTTPException):
            said = ""
        said = f": {said}" if said else ""
        status = error.code
        if 300 <= status < 400:
            return Refused(
                f"the address answers with a redirect ({status}), which is not followed since it "
                "would carry the secret elsewhere. Write the final address"
            )
        after = self._retry_after(error.headers.get("Retry-After"))
        if status == 429:
            return TryAgain(f"too many messages (429){said}", after or 60.0)
        if status in (408, 425) or status >= 500:
            arrived = status >= 500 and status != 503
            return TryAgain(f"the service answers {status}{said}", after, may_have_arrived=arrived)
        if status == 407:
            return Refused(
                "the proxy wants a name and a password (407). Write them into https_proxy"
            )
        return Refused(f"the service refuses it ({status}){said}")

    def _retry_after(self, given: str | None) -> float | None:
        """Seconds of a Retry-After header: a number, or a date."""
        if given is None:
            return None
        try:
            seconds = float(given)
        except ValueError:
            try:
                date = email.utils.parsedate_to_datetime(given)
                seconds = date.timestamp() - self.clock()
            except (ValueError, TypeError, OverflowError):
                return None
        return min(LONGEST_WAIT, max(0.0, seconds)) if seconds == seconds else None


def encode(payload: object) -> bytes:
    return json.dumps(payload, ensure_ascii=False, allow_nan=False).encode()


def cut_encoded(text: str, most_bytes: int) -> str:
    """At most so many bytes once it stands in JSON, where a quote or a line's end takes two."""
    while (size := len(encode(text))) > most_bytes:
        text = cut(text, len(text.encode()) * most_bytes // (size + 8) - 4, "\n...")
    return text


def excerpt(body: bytes) -> str:
    """The beginning of an answer in one line."""
    text = clean(body[:2000].decode(errors="replace").replace("\r", "")).replace("\n", " ")
    return cut(text.strip(), 300, "...")


def checked_url(url: str, variable: str, *, may_be_plain: bool = False) -> str:
    """An address that may be posted to.

    Raises:
        SettingError: it is none, or a secret would go over the network in the clear.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        (host or "").encode("idna")
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or any(one.isspace() for one in url):
        raise SettingError(
            f"{variable} is no address of the web, so nothing can be sent there. "
            "Write the whole of it, beginning with https://"
        )
    if parts.scheme == "http" and not may_be_plain and not _is_loopback(host):
        raise SettingError(
            f"{variable} begins with http://, so whoever is on the way could read it and send in "
            "your name. Write https://, or add --plain-http for a network that you trust"
        )
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _unreachable(reason: object, timeout: float) -> TryAgain:
    match reason:
        case TimeoutError():
            return TryAgain(f"no answer within {timeout:g} s", may_have_arrived=True)
        case ssl.SSLCertVerificationError():
            return TryAgain(
                f"its certificate is not trusted ({reason.verify_message}). If it is your house's "
                "own, set SSL_CERT_FILE"
            )
        case socket.gaierror():
            return TryAgain("no such host is known. Is the address right, is a proxy needed?")
        case ConnectionRefusedError():
            return TryAgain("nobody answers at that port")
        case http.client.HTTPException() | ConnectionResetError():
            return TryAgain("the connection broke off before an answer", may_have_arrived=True)
        case OSError():
            why = reason.strerror or type(reason).__name__
            return TryAgain(f"it cannot be reached ({why})")
    return TryAgain(f"it cannot be reached ({type(reason).__name__})")
