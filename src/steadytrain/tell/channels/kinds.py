"""What every channel is: a name, its manners, and a way to send."""

from dataclasses import dataclass
from typing import Protocol

from steadytrain.tell.message import Answer, Message


class Channel(Protocol):
    """A way to people.

    Attributes:
        name: "feishu", or "feishu:night" where there are several.
        spacing: the least time between two messages that the service asks for. [seconds]
    """

    @property
    def name(self) -> str: ...

    @property
    def spacing(self) -> float: ...

    def send(self, message: Message) -> Answer:
        """Send one message; returns what came of it, and raises nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Coat:
    """Colours of a message by how urgent it is."""

    info: str
    warning: str
    critical: str
    recovered: str

    def of(self, message: Message) -> str:
        colour: str = getattr(self, "recovered" if message.is_recovered else message.level)
        return colour
