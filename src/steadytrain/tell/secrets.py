"""Addresses and keys of channels: from the environment or a file, never from a command line.

    STEADYTRAIN_FEISHU_URL=https://...           the value
    STEADYTRAIN_FEISHU_URL_FILE=/run/secrets/x   a file that holds it
    a line of the --secrets file                 the same names

An address of a robot is as good as a key. Whatever was read here is blotted out of every text that
may be printed or written (`Secrets.blot`).
"""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from steadytrain.errors import SettingError

PREFIX = "STEADYTRAIN"
SHORTEST = 6
"""Shorter values are no secrets, and blotting them out would spoil every sentence."""

_LINE = re.compile(r"(?:export\s+)?([A-Z][A-Z0-9_]*)\s*=\s*(.*)")


class Secrets:
    """What the environment and a file hold; remembers what was taken.

    Raises:
        SettingError: the file cannot be read, others can read it, or a line is no setting.
    """

    def __init__(self, environment: Mapping[str, str], file: Path | None = None) -> None:
        self._values = dict(_read_lines(file)) if file is not None else {}
        self._values |= {k: v for k, v in environment.items() if k.startswith(f"{PREFIX}_")}
        self._taken: set[str] = set()

    def take(self, channel: str, key: str, otherwise: str | None = None) -> str:
        """A value of a channel ("feishu:night", "URL" -> STEADYTRAIN_FEISHU_NIGHT_URL).

        Raises:
            SettingError: there is none, and it has no default.
        """
        name = variable(channel, key)
        value = self._values.get(name, "").strip()
        path = self._values.get(f"{name}_FILE", "").strip()
        if not value and path:
            value = _read_private(Path(path)).strip()
        if not value:
            if otherwise is not None:
                return otherwise
            raise SettingError(
                f"{channel} has no {name}, so nothing can be sent there. Set it in the "
                f"environment, or {name}_FILE to a file that holds it, or write it into the file "
                "of --secrets"
            )
        if not value.isprintable() or not value.isascii():
            raise SettingError(
                f"{name} holds more than one line, or characters that no address and no key has. "
                "Write its value alone, in ASCII"
            )
        return value

    def take_secret(self, channel: str, key: str, otherwise: str | None = None) -> str:
        """The same, never to be shown."""
        value = self.take(channel, key, otherwise)
        self.hide(value)
        return value

    def hide(self, value: str) -> None:
        """Blot this out from here on, and the parts of an address that only its owner knows."""
        _, mark, rest = value.partition("://")
        parts = re.split(r"[/?&=@:]", rest.partition("/")[2]) if mark else []
        self._taken |= {one for one in (value, *parts) if len(one) >= SHORTEST}

    def blot(self, text: str) -> str:
        """A text without anything secret."""
        for one in sorted(self._taken, key=len, reverse=True):
            text = text.replace(one, "***")
        return text


def variable(channel: str, key: str) -> str:
    """The name of a channel's value in the environment."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", channel).upper()
    return f"{PREFIX}_{name}_{key}"


def _read_lines(path: Path) -> dict[str, str]:
    found = {}
    for number, line in enumerate(_read_private(path).splitlines(), 1):
        plain = line.strip()
        if not plain or plain.startswith("#"):
            continue
        match = _LINE.fullmatch(plain)
        if match is None:
            # The line itself may be a secret, so it is not shown.
            raise SettingError(
                f"line {number} of {path} is no setting. Write NAME=VALUE, such as "
                f"{PREFIX}_FEISHU_URL=https://..."
            )
        name, value = match.groups()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[name] = value
    return found


def _read_private(path: Path) -> str:
    """A file that nobody else may read."""
    try:
        with open(path, encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_IMODE(mode) & 0o077:
                raise SettingError(
                    f"{path} can be read by others (mode {stat.S_IMODE(mode):o}), so its secrets "
                    f"are none. Write: chmod 600 {path}"
                )
            return file.read(1 << 20)
    except OSError as error:
        raise SettingError(
            f"{path} cannot be read ({error.strerror}), so its secrets are unknown. "
            "Give a file that this user may read"
        ) from error
    except UnicodeDecodeError as error:
        raise SettingError(f"{path} is no text. Write a line NAME=VALUE each") from error
