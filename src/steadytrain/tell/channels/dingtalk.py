"""DingTalk: a custom robot of a group, in its Markdown.

    sign = base64(HMAC-SHA256(key=secret, message=f"{milliseconds}\\n{secret}")), in the address

Source: open.dingtalk.com "custom robot"; valid for an hour, 20 messages a minute. What a journal
says is escaped: no links, no mentions, no headings.
"""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote_plus

from steadytrain.tell.channels.web import Web, cut_encoded, robot_answer
from steadytrain.tell.message import Answer, Message
from steadytrain.tell.words import words

MOST_BYTES = 18_000
"""Of the text; a request may have 20 KB."""

_BUSY = (-1, 130101, 410100, 660026)
_HINTS: dict[int, str] = {
    310000: "the robot's safety settings refuse it: secret, clock, keyword, address",
    300001: "the address of the robot is wrong",
    300005: "the address of the robot is wrong",
    130101: "too many messages",
}


def signature(secret: str, milliseconds: int) -> str:
    """What the robot compares with, not yet quoted for an address."""
    text = f"{milliseconds}\n{secret}".encode()
    return base64.b64encode(hmac.new(secret.encode(), text, hashlib.sha256).digest()).decode()


@dataclass(frozen=True, kw_only=True)
class DingTalk:
    name: str
    url: str
    secret: str
    web: Web
    spacing: float = 3.1
    clock: Callable[[], float] = time.time

    def send(self, message: Message) -> Answer:
        url = self.url
        if self.secret:
            now = int(self.clock() * 1000)
            sign = quote_plus(signature(self.secret, now))
            url += f"{'&' if '?' in url else '?'}timestamp={now}&sign={sign}"
        reply = self.web.post(
            url,
            {
                "msgtype": "markdown",
                "markdown": {"title": message.headline, "text": _text(message)},
                "at": {"isAtAll": False},
            },
        )
        return robot_answer(
            reply, "errcode", maker="DingTalk", busy=_BUSY,
            explain=lambda code, said: f"{_HINTS.get(code, '')} {said}",
        )  # fmt: skip


def _text(message: Message) -> str:
    lines = [f"**{escape(message.headline)}**", ""]
    # Two line breaks: in its Markdown a single one is none.
    lines += [f"{escape(line)}\n" for line in message.body.split("\n")]
    link = f"\n[{words('board', message.lang)}]({message.link})" if message.link else ""
    return cut_encoded("\n".join(lines), MOST_BYTES) + link


def escape(text: str) -> str:
    """Text that Markdown shows as it is, and in which nobody is mentioned.

    >>> escape("# <a> [x](y) *b* @all")
    '\\\\# &lt;a&gt; \\\\[x\\\\](y) \\\\*b\\\\* \\uff20all'
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]#!|~])", r"\\\1", text).replace("@", "\uff20")
