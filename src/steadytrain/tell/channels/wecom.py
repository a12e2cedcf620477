"""WeCom: a robot of a group, in plain text of at most 2,048 bytes.

Source: developer.work.weixin.qq.com "group robot"; 20 messages a minute. The address is the key.
"""

from dataclasses import dataclass

from steadytrain.tell.channels.web import Web
from steadytrain.tell.message import Answer, Arrived, Message, Refused, TryAgain, cut

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
        if isinstance(reply, TryAgain | Refused):
            return reply
        code = reply.number("errcode")
        if code is None:
            return Refused(f"this is no robot of WeCom: {reply.words()}")
        if code == 0:
            return Arrived()
        said = f"{code}: {_HINTS.get(code) or reply.words()}"
        return TryAgain(said, 60.0) if code in _BUSY else Refused(said)


def text(message: Message) -> str:
    """Headline, news and link; what is too long is cut in the news, never elsewhere."""
    head = cut(message.headline, MOST_BYTES // 4)
    tail = f"\n{message.link}" if message.link else ""
    left = MOST_BYTES - len(head.encode()) - len(tail.encode()) - 1
    return cut(f"{head}\n{cut(message.body, left, '...')}{tail}", MOST_BYTES)
