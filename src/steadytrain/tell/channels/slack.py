"""Slack: an incoming webhook, or an application's token, which can edit and answer.

With a token the first message of a thread is edited to the whole story, and the news is an answer
below it, since an edit rings no bell. Text is plain or escaped: nobody is mentioned.

Source: api.slack.com: chat.postMessage, chat.update, "Escaping text"; one message a second.
"""

from dataclasses import dataclass
from typing import Any

from steadytrain.tell.channels.kinds import Coat
from steadytrain.tell.channels.web import Reply, Web
from steadytrain.tell.message import Answer, Arrived, Message, Refused, TryAgain, clean, cut
from steadytrain.tell.words import words

API = "https://slack.com/api"

MOST_CHARACTERS = 2900
"""Of a section's text, of 3,000."""

_COAT = Coat(info="#2f6fde", warning="#d98a00", critical="#c8322b", recovered="#2c8a4b")
_BUSY = ("ratelimited", "rate_limited", "service_unavailable", "internal_error", "fatal_error")
_HINTS = {
    "invalid_auth": "the token is wrong",
    "not_authed": "the token is wrong",
    "token_revoked": "the token was revoked",
    "missing_scope": "the application lacks the scope chat:write",
    "channel_not_found": "no such channel; give its id, and invite the application to it",
    "not_in_channel": "invite the application to the channel",
    "is_archived": "the channel is archived",
}


@dataclass(frozen=True, kw_only=True)
class SlackHook:
    """An incoming webhook; the address is the key."""

    name: str
    url: str
    web: Web
    spacing: float = 1.1

    def send(self, message: Message) -> Answer:
        reply = self.web.post(self.url, _content(message, message.body))
        if isinstance(reply, TryAgain | Refused):
            return reply
        if reply.body.strip() == b"ok":
            return Arrived()
        return Refused(f"this is no webhook of Slack: {reply.words()}")


@dataclass(frozen=True, kw_only=True)
class Slack:
    """An application in a channel."""

    name: str
    token: str
    room: str
    web: Web
    api: str = API
    spacing: float = 1.1

    def send(self, message: Message) -> Answer:
        room, _, first = message.reference.rpartition("/")
        if not first:
            said = self._call("chat.postMessage", self.room, _content(message, message.body))
            if isinstance(said, dict):
                return Arrived(f"{said.get('channel', self.room)}/{said.get('ts', '')}")
            return said
        # The edit can be made twice without harm, so it comes before the answer.
        edited = self._call("chat.update", room, _content(message, message.whole) | {"ts": first})
        if isinstance(edited, TryAgain):
            return edited
        below = {"thread_ts": first, "reply_broadcast": message.level == "critical"}
        said = self._call("chat.postMessage", room, _content(message, message.body) | below)
        return Arrived(message.reference) if isinstance(said, dict) else said

    def _call(
        self, method: str, room: str, content: dict[str, Any]
    ) -> dict[str, Any] | TryAgain | Refused:
        reply = self.web.post(
            f"{self.api}/{method}",
            {"channel": room, "unfurl_links": False} | content,
            {"Authorization": f"Bearer {self.token}"},
        )
        return _understood(reply) if isinstance(reply, Reply) else reply


def _understood(reply: Reply) -> dict[str, Any] | TryAgain | Refused:
    fields = reply.fields()
    if fields is None:
        return Refused(f"this is not Slack: {reply.words()}")
    if fields.get("ok"):
        return fields
    error = clean(cut(str(fields.get("error")), 200))
    said = f"{error}: {_HINTS[error]}" if error in _HINTS else error
    return TryAgain(said, 30.0) if error in _BUSY else Refused(said)


def _content(message: Message, text: str) -> dict[str, Any]:
    shown = cut(text, MOST_CHARACTERS, "\n...")
    blocks: list[dict[str, Any]] = [
        {"type": "section", "text": {"type": "plain_text", "text": shown or "-", "emoji": False}}
    ]
    if message.link:
        button = {
            "type": "button",
            "text": {"type": "plain_text", "text": words("board", message.lang)},
            "url": message.link,
        }
        blocks.append({"type": "actions", "elements": [button]})
    return {
        "text": escape(message.headline),
        "attachments": [{"color": _COAT.of(message), "blocks": blocks}],
    }


def escape(text: str) -> str:
    """Text in which nothing is a mention or a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
