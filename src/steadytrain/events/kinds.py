"""The three kinds of event; each stands apart so that no event needs another's file."""

import msgspec


class Event(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag=True
):
    """Anything that can stand in a journal."""


class Fact(Event, frozen=True):
    """Something was observed."""


class Judgment(Event, frozen=True):
    """Something was concluded from the facts and deeds before it."""


class Deed(Event, frozen=True):
    """Something was done, citing the judgment that asked for it."""
