"""`--to feishu:night=critical` -> a channel with its address, secret and manners."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import get_args

from steadytrain.errors import SettingError
from steadytrain.tell.box import Manners
from steadytrain.tell.channels import apprise
from steadytrain.tell.channels.dingtalk import DingTalk
from steadytrain.tell.channels.feishu import Feishu
from steadytrain.tell.channels.kinds import Channel
from steadytrain.tell.channels.mail import PORTS, Mail, Tls, checked_addresses
from steadytrain.tell.channels.slack import API, Slack, SlackHook
from steadytrain.tell.channels.web import Web, checked_url
from steadytrain.tell.channels.webhook import Webhook
from steadytrain.tell.channels.wecom import WeCom
from steadytrain.tell.notes import LEVELS, Level
from steadytrain.tell.secrets import Secrets, variable

_GIVEN = re.compile(r"([a-z]+)(?::([a-z0-9][a-z0-9-]*))?(?:=([a-z]+))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """A channel, and how it wants to be told."""

    channel: Channel
    manners: Manners


@dataclass(frozen=True, kw_only=True, slots=True)
class Makers:
    """Makes channels from what `Secrets` hold."""

    secrets: Secrets
    web: Web
    may_be_plain: bool = False

    def way(self, given: str, manners: Manners) -> Way:
        """Of `"feishu"`, `"feishu:night"` or `"mail=critical"`.

        Raises:
            SettingError: there is no such channel, or what it needs is missing or wrong.
        """
        if "/" in given or "@" in given:
            raise SettingError(
                "an address on the command line can be read by everybody on this machine (ps). "
                "Write the channel's name, such as --to feishu, and put the address into the "
                "environment"
            )
        found = _GIVEN.fullmatch(given)
        makers = self._makers()
        if found is None or found[1] not in makers:
            raise SettingError(
                f"there is no channel {given!r}. Write one of: {', '.join(makers)}; with a name "
                "of your own behind it if there are several (feishu:night), and the level from "
                "which it is told (mail=critical)"
            )
        kind, label, level = found.groups()
        name = f"{kind}:{label}" if label else kind
        channel = makers[kind](name)
        spacing = max(manners.spacing, channel.spacing)
        return Way(
            channel=channel,
            manners=replace(manners, level=_level(level, manners.level), spacing=spacing),
        )

    def _makers(self) -> dict[str, Callable[[str], Channel]]:
        return {
            "feishu": self._feishu,
            "lark": self._feishu,
            "dingtalk": self._dingtalk,
            "wecom": lambda name: WeCom(name=name, url=self._url(name), web=self.web),
            "slack": self._slack,
            "webhook": self._webhook,
            "mail": self._mail,
            "apprise": self._apprise,
        }

    def _url(self, name: str) -> str:
        url = self.secrets.take_secret(name, "URL")
        return checked_url(url, variable(name, "URL"), may_be_plain=self.may_be_plain)

    def _secret(self, name: str) -> str:
        return self.secrets.take_secret(name, "SECRET", "")

    def _feishu(self, name: str) -> Channel:
        return Feishu(name=name, url=self._url(name), secret=self._secret(name), web=self.web)

    def _dingtalk(self, name: str) -> Channel:
        return DingTalk(name=name, url=self._url(name), secret=self._secret(name), web=self.web)

    def _webhook(self, name: str) -> Channel:
        return Webhook(name=name, url=self._url(name), secret=self._secret(name), web=self.web)

    def _slack(self, name: str) -> Channel:
        token = self.secrets.take_secret(name, "TOKEN", "")
        if not token:
            return SlackHook(name=name, url=self._url(name), web=self.web)
        api = self.secrets.take(name, "API", API)
        return Slack(
            name=name, token=token, room=self.secrets.take(name, "CHANNEL"), web=self.web,
            api=checked_url(api, variable(name, "API"), may_be_plain=self.may_be_plain).rstrip("/"),
        )  # fmt: skip

    def _mail(self, name: str) -> Channel:
        tls = self.secrets.take(name, "TLS", "starttls")
        if tls not in get_args(Tls):
            raise SettingError(
                f"{variable(name, 'TLS')} is {tls!r}, and mail knows {', '.join(get_args(Tls))}. "
                "Write starttls (port 587) or tls (port 465)"
            )
        host, _, port = self.secrets.take(name, "SERVER").partition(":")
        number = int(port) if port.isdecimal() else PORTS[tls]
        if not host or (port and not port.isdecimal()) or not 0 < number < 65536:
            raise SettingError(
                f"{variable(name, 'SERVER')} is no server of mail. Write smtp.example.org:587"
            )
        user = self.secrets.take(name, "USER", "")
        password = self.secrets.take_secret(name, "PASSWORD", "") if user else ""
        if (
            user
            and tls == "none"
            and not self.may_be_plain
            and host not in ("localhost", "127.0.0.1")
        ):
            raise SettingError(
                f"{variable(name, 'TLS')} is none, so the password would go over the network in "
                "the clear. Write starttls or tls"
            )
        receivers = self.secrets.take(name, "TO")
        (sender,) = checked_addresses(
            self.secrets.take(name, "FROM", user or receivers.split(",")[0]), variable(name, "FROM")
        )[:1]
        return Mail(
            name=name, host=host, port=number, tls=tls, user=user, password=password,  # type: ignore[arg-type]
            sender=sender, receivers=checked_addresses(receivers, variable(name, "TO")),
        )  # fmt: skip

    def _apprise(self, name: str) -> Channel:
        urls = self.secrets.take_secret(name, "URLS")
        for one in urls.split():
            self.secrets.hide(one)
        sender = apprise.load(urls, variable(name, "URLS"))
        return apprise.Apprise(name=name, sender=sender)


def _level(given: str | None, otherwise: Level) -> Level:
    if given is None:
        return otherwise
    if given not in LEVELS:
        raise SettingError(f"there is no level {given!r}. Write one of: {', '.join(LEVELS)}")
    return given
