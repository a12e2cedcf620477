"""What went out to people, and that somebody has seen it; written by `steadytrain tell`."""

from typing import Literal

from steadytrain.events.kinds import Deed, Fact


class AlertSent(Deed, frozen=True):
    """A message to people: about to go out by a channel, arrived, or given up.

    A "sending" without an end may have arrived: it goes out once more, with the same id.

    Attributes:
        channel: "feishu", "mail:night"; never an address.
        state: "begun" (the channel is told of what comes from here on), "sending", "sent", "given
            up".
        id: of the message on its channel; its later states cite it.
        threads: what it is about: "incident-3", "exit-2".
        notes: ids of the news in it, each of which a channel is told once.
        title, text: its words; told once, in the state "sending".
        is_over: what it is about has ended.
        reference: what the service calls it, so that it can be edited or answered.
        tries, why: made so far; what came back, where it did not arrive.
    """

    channel: str
    state: Literal["begun", "sending", "sent", "given up"]
    id: str = ""
    threads: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    level: Literal["info", "warning", "critical"] = "info"
    title: str = ""
    text: str = ""
    is_over: bool = False
    reference: str = ""
    tries: int = 0
    why: str = ""


class AlertAcknowledged(Fact, frozen=True):
    """Somebody has seen it: nobody else is woken for this thread.

    Attributes:
        id: of the word, so that it is noted once.
        thread: "incident-3".
        who: the account that owned the file it came in, and the name that was given.
    """

    id: str
    thread: str
    who: str
    words: str = ""
