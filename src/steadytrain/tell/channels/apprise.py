"""Everything else, by the library apprise: Telegram, Teams, ntfy, Bark and some hundred more.

pip install 'steadytrain[apprise]'. It says only whether a message went out, not why not.
"""

import importlib
import logging
from dataclasses import dataclass
from typing import Any

from steadytrain.errors import SettingError
from steadytrain.tell.message import Answer, Arrived, Message, TryAgain

_TYPES = {"info": "info", "warning": "warning", "critical": "failure"}


@dataclass(frozen=True, kw_only=True)
class Apprise:
    name: str
    sender: Any
    spacing: float = 1.0

    def send(self, message: Message) -> Answer:
        link = f"\n{message.link}" if message.link else ""
        kind = "success" if message.is_recovered else _TYPES[message.level]
        arrived = self.sender.notify(
            title=message.headline, body=f"{message.body}{link}", notify_type=kind
        )
        if arrived:
            return Arrived()
        return TryAgain("apprise could not send it to every address", may_have_arrived=True)


def load(urls: str, variable: str) -> Any:
    """A sender of the library for addresses with spaces between.

    Raises:
        SettingError: the library is missing, or does not know an address.
    """
    try:
        library = importlib.import_module("apprise")
    except ImportError as error:
        raise SettingError(
            "apprise is not installed, and this channel needs it. "
            "Write: pip install 'steadytrain[apprise]'"
        ) from error
    # It would print addresses, and they are keys.
    logger = logging.getLogger("apprise")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    sender = library.Apprise()
    for number, url in enumerate(urls.split(), 1):
        if not sender.add(url):
            raise SettingError(
                f"address {number} of {variable} is none that apprise knows. "
                "Its list is at github.com/caronc/apprise"
            )
    return sender
