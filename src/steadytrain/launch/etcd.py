"""etcd as the store in which hosts meet, by its HTTP gateway; the standard library is enough.

What hosts write hangs on one lease, which whoever is there renews: it is gone a while after the
last of them. Each call tries the members of the cluster in turn, so that the end of one of them is
nobody's business.
"""

import base64
import hashlib
import http.client
import json
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from steadytrain.errors import SettingError

LEASE_SECONDS = 60.0
"""How long what hosts have written outlives them all; six silent times of a host, at least."""

MANY = 100
"""Keys that are read in one transaction; etcd takes 128."""

LEASE_EXISTS, LEASE_IS_GONE = "lease already exists", "lease not found"


@dataclass(frozen=True, slots=True)
class Keys:
    """Files for etcd behind TLS.

    Attributes:
        cacert: who signs for etcd; None: whoever the machine trusts.
        cert, key: by which this host is known to etcd.
    """

    cacert: str | None = None
    cert: str | None = None
    key: str | None = None

    def context(self) -> ssl.SSLContext:
        """Raises SettingError: a file is missing, or not of its kind."""
        try:
            context = ssl.create_default_context(cafile=self.cacert)
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key)
        except OSError as error:
            raise SettingError(
                f"the files for etcd behind TLS cannot be used ({error}), so it would not talk to "
                "this host. Write --rdzv-conf protocol=https,cacert=FILE,cert=FILE,key=FILE."
            ) from error
        return context


class Refused(RuntimeError):
    """etcd answered that it would not do what it was asked."""


class EtcdStore:
    """The calls of `line.Store`, on etcd's third protocol. All raise RuntimeError when it is lost.

    Args:
        endpoints: (address, port) of the cluster's members; the first is asked first.
        run_id: names the lease.
        seconds: how long a call may take, whichever members answer.

    Raises:
        SettingError: what answers is not etcd, or does not let this host in.
    """

    def __init__(
        self,
        endpoints: Sequence[tuple[str, int]],
        *,
        run_id: str,
        keys: Keys | None,
        seconds: float,
    ) -> None:
        self._endpoints = list(endpoints)
        self._run_id = run_id
        self._keys = keys
        self._seconds = seconds
        self._open: http.client.HTTPConnection | None = None
        self._context = None if keys is None else keys.context()
        digest = hashlib.sha256(f"steadytrain/{run_id}".encode()).digest()
        self._lease = 1 + (int.from_bytes(digest[:8]) >> 2)
        self._lease_seconds = max(LEASE_SECONDS, 6.0 * seconds)
        self._renewed_at = 0.0
        try:
            self._renew()
        except Refused as error:
            address, port = self._endpoints[0]
            raise SettingError(
                f"{address}:{port} answers, but not as an etcd (3.4 or later) that lets this host "
                f"in: {error}. Write --rdzv-endpoint with its client address, and --rdzv-conf "
                "protocol=https,cacert=FILE,cert=FILE,key=FILE if it wants TLS."
            ) from error

    def clone(self) -> Self:
        """One for another thread."""
        return type(self)(
            self._endpoints, run_id=self._run_id, keys=self._keys, seconds=self._seconds
        )

    def __del__(self) -> None:
        """Its connection ends with it, as that of a store of PyTorch's does."""
        self._hang_up()

    def set(self, key: str, value: bytes | str, /) -> None:
        self._change(lambda: self._ask("kv/put", self._put(key, value)))

    def get(self, key: str, /) -> bytes:
        return self.multi_get([key])[0]

    def check(self, keys: list[str], /) -> bool:
        return all(one is not None for one in self._find(keys))

    def multi_get(self, keys: list[str], /) -> list[bytes]:
        found = [one for one in self._find(keys) if one is not None]
        if len(found) < len(keys):
            raise RuntimeError(f"etcd does not hold all of {keys} any more")
        return found

    def add(self, key: str, amount: int, /) -> int:
        while True:
            (before,) = self._find([key])
            now = int(before or b"0") + amount
            if amount == 0 or self._put_if(key, before, str(now)):
                return now

    def compare_set(self, key: str, expected: str, desired: str, /) -> bytes:
        before = expected.encode() if expected else None
        if self._put_if(key, before, desired):
            return desired.encode()
        (found,) = self._find([key])
        return expected.encode() if found is None else found

    def _put_if(self, key: str, before: bytes | None, value: str) -> bool:
        """Whether the key had that value, and has the new one now; None: it was not there."""
        condition: dict[str, Any] = {"key": _coded(key), "result": "EQUAL"}
        if before is None:
            condition |= {"target": "CREATE", "create_revision": "0"}
        else:
            condition |= {"target": "VALUE", "value": _coded(before)}
        act = {"compare": [condition], "success": [{"request_put": self._put(key, value)}]}
        return bool(self._change(lambda: self._ask("kv/txn", act)).get("succeeded", False))

    def _find(self, keys: list[str]) -> list[bytes | None]:
        found: list[bytes | None] = []
        for at in range(0, len(keys), MANY):
            asked = [{"request_range": {"key": _coded(key)}} for key in keys[at : at + MANY]]
            for one in self._ask("kv/txn", {"success": asked})["responses"]:
                values = one["response_range"].get("kvs", [])
                found.append(base64.b64decode(values[0].get("value", "")) if values else None)
        self._renew_in_time()
        return found

    def _put(self, key: str, value: bytes | str) -> dict[str, Any]:
        return {"key": _coded(key), "value": _coded(value), "lease": str(self._lease)}

    def _change(self, act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        self._renew_in_time()
        try:
            return act()
        except Refused as error:
            if LEASE_IS_GONE not in str(error):
                raise
        self._renew()  # nobody was there for long, so nothing is there any more either
        return act()

    def _renew_in_time(self) -> None:
        if time.monotonic() - self._renewed_at > self._lease_seconds / 6.0:
            self._renew()

    def _renew(self) -> None:
        answer = self._ask("lease/keepalive", {"ID": str(self._lease)})
        if int(answer.get("result", {}).get("TTL", 0)) <= 0:
            wanted = {"ID": str(self._lease), "TTL": str(round(self._lease_seconds))}
            try:
                self._ask("lease/grant", wanted)
            except Refused as error:  # by another host, a moment ago
                if LEASE_EXISTS not in str(error):
                    raise
        self._renewed_at = time.monotonic()

    def _ask(self, what: str, words: dict[str, Any]) -> dict[str, Any]:
        """One request, of whichever member answers. Repeating one that was heard changes nothing:
        a count may have gaps, and who finds its value written has written it.
        """
        end = time.monotonic() + self._seconds
        lost: Exception = TimeoutError()
        why = ""
        while time.monotonic() < end:
            for _ in self._endpoints:
                address, port = self._endpoints[0]
                try:
                    return self._ask_first(what, words)
                except (OSError, http.client.HTTPException) as error:
                    lost, why = error, f"etcd at {address}:{port}: {error or type(error).__name__}"
                    self._hang_up()
                    self._endpoints.append(self._endpoints.pop(0))
            time.sleep(0.05)
        if isinstance(lost, http.client.RemoteDisconnected):  # what a door that wants TLS does
            raise Refused(why)
        raise RuntimeError(why)

    def _hang_up(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open = None

    def _ask_first(self, what: str, words: dict[str, Any]) -> dict[str, Any]:
        if self._open is None:
            address, port = self._endpoints[0]
            # Far below what makes a host count as silent, with every member tried.
            seconds = max(1.0, self._seconds / (4 * len(self._endpoints)))
            if self._context is None:
                self._open = http.client.HTTPConnection(address, port, timeout=seconds)
            else:
                self._open = http.client.HTTPSConnection(
                    address, port, timeout=seconds, context=self._context
                )
        try:
            self._open.request("POST", f"/v3/{what}", json.dumps(words))
            response = self._open.getresponse()
            body = response.read()
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            raise  # closed, as any connection may be
        except ssl.SSLError as error:
            raise Refused(str(error)) from error
        try:
            answer = json.loads(body)
        except ValueError as error:
            raise Refused(f"status {response.status}, {body[:80]!r}") from error
        if not isinstance(answer, dict) or response.status != http.client.OK:
            reason = answer.get("message", answer) if isinstance(answer, dict) else answer
            if response.status == http.client.SERVICE_UNAVAILABLE:  # the cluster has no majority
                raise http.client.HTTPException(str(reason))
            raise Refused(str(reason))
        return answer


def _coded(text: bytes | str) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()
