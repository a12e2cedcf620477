"""Feishu and Lark: a custom robot of a group, with a card.

    sign = base64(HMAC-SHA256(key=f"{seconds}\\n{secret}", message=b""))

Source: open.feishu.cn "custom bot"; the key is what is signed elsewhere. The text of the card is
plain, so that nothing in it can mention people or make links. Such a robot cannot edit.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass

from steadytrain.tell.channels.kinds import Coat
from steadytrain.tell.channels.web import Web, cut_encoded, robot_answer
from steadytrain.tell.message import Answer, Message
from steadytrain.tell.words import words

MOST_BYTES = 18_000
"""Of the text; a request may have 20 KB."""

_COAT = Coat(info="blue", warning="orange", critical="red", recovered="green")
_BUSY = (9499, 11232, 11233, 230020, 99991400)
_HINTS: dict[int, str] = {
    19021: "the signature does not match: is the secret right, and the clock of this machine?",
    19022: "the robot does not accept this machine's address: add it to the robot's list",
    19024: "the robot wants a keyword: let it be a word of every message, or use the signature",
    19001: "the address of the robot is wrong",
    19002: "the robot does not understand the message",
    9499: "too many messages",
    11232: "too many messages",
}


def signature(secret: str, seconds: int) -> str:
    """What the robot compares with.

    >>> signature("demo", 1599360473)
    'l1N0gAcBjdwBvGm1xMjOF0XSyaLRpR7tuO5dHfhAYc8='
    """
    key = f"{seconds}\n{secret}".encode()
    return base64.b64encode(hmac.new(key, b"", hashlib.sha256).digest()).decode()


@dataclass(frozen=True, kw_only=True)
class Feishu:
    name: str
    url: str
    secret: str
    web: Web
    spacing: float = 1.0
    clock: Callable[[], float] = time.time

    def send(self, message: Message) -> Answer:
        payload: dict[str, object] = {"msg_type": "interactive", "card": _card(message)}
        if self.secret:
            now = int(self.clock())
            payload = {"timestamp": str(now), "sign": signature(self.secret, now)} | payload
        reply = self.web.post(self.url, payload)
        return robot_answer(
            reply, "code", "StatusCode", maker="Feishu", busy=_BUSY,
            explain=lambda code, said: _HINTS.get(code) or said,
        )  # fmt: skip


def _card(message: Message) -> dict[str, object]:
    elements: list[dict[str, object]] = [
        {"tag": "div", "text": _plain(cut_encoded(message.body, MOST_BYTES))}
    ]
    if message.link:
        button = {
            "tag": "button", "text": _plain(words("board", message.lang)), "url": message.link,
            "type": "default",
        }  # fmt: skip
        elements.append({"tag": "action", "actions": [button]})
    return {
        "config": {"wide_screen_mode": True},
        "header": {"title": _plain(message.headline), "template": _COAT.of(message)},
        "elements": elements,
    }


def _plain(text: str) -> dict[str, str]:
    return {"tag": "plain_text", "content": text}
