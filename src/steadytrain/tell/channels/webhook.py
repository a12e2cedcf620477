"""Any service: a JSON object by POST, signed if there is a secret.

    X-Steadytrain-Timestamp: seconds
    X-Steadytrain-Signature: sha256=hex(HMAC-SHA256(key=secret, message=f"{seconds}." + body))
    Idempotency-Key: the same when a message comes a second time

Source: the form of GitHub's and Stripe's webhooks; the time is signed too, against old copies.
"""

import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass

from steadytrain.tell.channels.web import Reply, Web, encode
from steadytrain.tell.message import Answer, Arrived, Message


def signature(secret: str, seconds: int, body: bytes) -> str:
    text = f"{seconds}.".encode() + body
    return f"sha256={hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()}"


@dataclass(frozen=True, kw_only=True)
class Webhook:
    name: str
    url: str
    secret: str
    web: Web
    spacing: float = 0.0
    clock: Callable[[], float] = time.time

    def send(self, message: Message) -> Answer:
        now = int(self.clock())
        body = encode(content(message))
        headers = {"Idempotency-Key": message.key, "X-Steadytrain-Timestamp": str(now)}
        if self.secret:
            headers["X-Steadytrain-Signature"] = signature(self.secret, now, body)
        reply = self.web.post(self.url, body, headers)
        if not isinstance(reply, Reply):
            return reply
        fields = reply.fields() or {}
        reference = fields.get("reference")
        return Arrived(reference if isinstance(reference, str) else "")


def content(message: Message) -> dict[str, object]:
    """The object that is posted; docs/alerts.md has its fields."""
    return {
        "key": message.key,
        "run": message.run,
        "level": message.level,
        "state": "over" if message.is_over else "open",
        "recovered": message.is_recovered,
        "threads": list(message.threads),
        "number": message.number,
        "headline": message.headline,
        "title": message.title,
        "text": message.text,
        "story": message.story,
        "link": message.link,
        "reference": message.reference,
        "again": message.is_again,
    }
