"""WeCom: a robot of a group, in plain text of at most 2,048 bytes.

Source: developer.work.weixin.qq.com "group robot"; 20 messages a minute. The address is the key.
"""

from dataclasses import dataclass

from steadytrain.tell.channels.web import Web, robot_answer
from steadytrain.tell.message import Answer, Message, cut

MOST_BYTES = 2048

_BUSY = (-1, 45009, 45033)
_HINTS: dict[int, str] = {
    93000: "the address of the robot is wrong",
    45009: "too many messages",
    45002: "the message is too long",
}


@dataclass(frozen=True, kw_only=True)
class WeCom:
    name: str
    url: str
    web: Web
    spacing: float = 3.1

    def send(self, message: Message) -> Answer:
        reply = self.web.post(self.url, {"msgtype": "text", "text": {"content": text(message)}})
        return robot_answer(
            reply, "errcode", maker="WeCom", busy=_BUSY,
            explain=lambda code, said: _HINTS.get(code) or said,
        )  # fmt: skip


def text(message: Message) -> str:
    """Headline, news and link; what is too long is cut in the news, never elsewhere."""
    head = cut(message.headline, MOST_BYTES // 4)
    tail = f"\n{message.link}" if message.link else ""
    left = MOST_BYTES - len(head.encode()) - len(tail.encode()) - 1
    return cut(f"{head}\n{cut(message.body, left, '...')}{tail}", MOST_BYTES)
