"""Hours in which only what is critical may wake people."""

import re
import zoneinfo
from dataclasses import dataclass
from datetime import datetime, tzinfo

from steadytrain.errors import SettingError

_HOURS = re.compile(r"(\d{1,2}):(\d\d)-(\d{1,2}):(\d\d)")


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From one minute of the day to another, in a time zone, over midnight if need be.

    >>> night = QuietHours.parse("22:30-08:00", "Asia/Shanghai")
    >>> night.contains(1767279600.0), night.contains(1767315600.0)  # 23:00 and 09:00 there
    (True, False)
    """

    begin: int
    end: int
    zone: tzinfo | None

    @classmethod
    def parse(cls, hours: str, zone: str | None = None) -> "QuietHours":
        """Of `"22:30-08:00"` and the name of a zone, None for that of this machine.

        Raises:
            SettingError: these are no hours, or this machine knows no such zone.
        """
        found = _HOURS.fullmatch(hours.strip())
        numbers = [int(one) for one in found.groups()] if found else []
        if not found or max(numbers[::2]) > 24 or max(numbers[1::2]) > 59:
            raise SettingError(
                f"{hours!r} are no quiet hours, so nobody would know when to be silent. "
                "Write --quiet 22:30-08:00"
            )
        begin, end = numbers[0] * 60 + numbers[1], numbers[2] * 60 + numbers[3]
        if begin % 1440 == end % 1440:
            raise SettingError(
                f"{hours} begin when they end, so they are all day or never. Write other hours, or "
                "--level critical to hear of nothing else"
            )
        return cls(begin, end, _zone(zone))

    def contains(self, at: float) -> bool:
        """Whether a moment is in them. [seconds since 1970]"""
        # Without a zone: the machine's own, daylight saving included.
        local = datetime.fromtimestamp(at, self.zone)
        minute = local.hour * 60 + local.minute
        if self.begin < self.end:
            return self.begin <= minute < self.end
        return minute >= self.begin or minute < self.end


def _zone(name: str | None) -> tzinfo | None:
    if name is None:
        return None
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SettingError(
            f"this machine knows no time zone {name!r}, so quiet hours would be at the wrong time. "
            "Write a name such as Asia/Shanghai or UTC (pip install tzdata, if there are none)"
        ) from error
