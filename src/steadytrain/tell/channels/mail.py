"""Mail: plain text over SMTP with TLS; the messages of a thread answer each other.

A message has the same Message-ID when it is sent again, so a mailbox shows it once.
"""

import smtplib
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, parseaddr
from typing import Literal

from steadytrain.errors import SettingError
from steadytrain.tell.channels.web import excerpt
from steadytrain.tell.message import Answer, Arrived, Message, Refused, TryAgain

Tls = Literal["starttls", "tls", "none"]
PORTS: dict[str, int] = {"starttls": 587, "tls": 465, "none": 25}

TIMEOUT = 20.0


@dataclass(frozen=True, kw_only=True)
class Mail:
    name: str
    host: str
    port: int
    tls: Tls
    user: str
    password: str
    sender: str
    receivers: tuple[str, ...]
    timeout: float = TIMEOUT
    spacing: float = 1.0
    clock: Callable[[], float] = time.time
    context: ssl.SSLContext | None = None

    def send(self, message: Message) -> Answer:
        letter = self.letter(message)
        try:
            with self._connect() as server:
                if self.tls == "starttls":
                    server.starttls(context=self._context())
                if self.user:
                    server.login(self.user, self.password)
                refused = server.send_message(letter)
        except smtplib.SMTPException as error:
            return _failed(error)
        except ssl.SSLCertVerificationError as error:
            return TryAgain(
                f"its certificate is not trusted ({error.verify_message}). If it is your house's "
                "own, set SSL_CERT_FILE"
            )
        except socket.gaierror:
            return TryAgain("no such mail server is known")
        except TimeoutError:
            return TryAgain(f"no answer within {self.timeout:g} s", may_have_arrived=True)
        except OSError as error:
            return TryAgain(f"the mail server cannot be reached ({error.strerror or error})")
        remark = f"not taken for {', '.join(refused)}" if refused else ""
        return Arrived(str(letter["Message-ID"]), remark)

    def letter(self, message: Message) -> EmailMessage:
        """The mail of a message."""
        letter = EmailMessage()
        letter["Subject"] = message.headline
        letter["From"] = self.sender
        letter["To"] = ", ".join(self.receivers)
        letter["Date"] = formatdate(self.clock(), localtime=True)
        domain = parseaddr(self.sender)[1].rpartition("@")[2] or "steadytrain"
        letter["Message-ID"] = f"<{message.key or message.id}@{domain}>"
        if message.reference:
            letter["In-Reply-To"] = message.reference
            letter["References"] = message.reference
        letter["Auto-Submitted"] = "auto-generated"  # RFC 3834: no absence notes, please
        if message.level == "critical":
            letter["X-Priority"] = "1"
        tail = f"\n\n{message.link}" if message.link else ""
        letter.set_content(f"{message.body}{tail}\n")
        return letter

    def _connect(self) -> smtplib.SMTP:
        if self.tls == "tls":
            return smtplib.SMTP_SSL(
                self.host, self.port, timeout=self.timeout, context=self._context()
            )
        return smtplib.SMTP(self.host, self.port, timeout=self.timeout)

    def _context(self) -> ssl.SSLContext:
        return self.context or ssl.create_default_context()


def checked_addresses(given: str, variable: str) -> tuple[str, ...]:
    """Addresses between commas.

    Raises:
        SettingError: one of them is none.
    """
    found = tuple(one.strip() for one in given.split(",") if one.strip())
    for one in found:
        name, mark, domain = parseaddr(one)[1].rpartition("@")
        if not (name and mark and domain) or not one.isprintable():
            raise SettingError(
                f"{variable} holds {one!r}, which is no address of mail. "
                "Write ada@example.org, with commas between several"
            )
    return found


def _failed(error: smtplib.SMTPException) -> TryAgain | Refused:
    match error:
        case smtplib.SMTPAuthenticationError():
            return Refused(f"name or password is wrong ({error.smtp_code})")
        case smtplib.SMTPNotSupportedError():
            return Refused(f"the mail server lacks what was asked: {error}")
        case smtplib.SMTPRecipientsRefused():
            codes = [code for code, _ in error.recipients.values()]
            said = f"no receiver is taken ({', '.join(map(str, sorted(set(codes))))})"
            return TryAgain(said) if all(code < 500 for code in codes) else Refused(said)
        case smtplib.SMTPResponseException():
            words = error.smtp_error
            raw = words if isinstance(words, bytes) else str(words).encode()
            said = f"the mail server answers {error.smtp_code}: {excerpt(raw)}"
            return TryAgain(said) if error.smtp_code < 500 else Refused(said)
        case smtplib.SMTPServerDisconnected():
            return TryAgain("the mail server broke off", may_have_arrived=True)
    return TryAgain(f"the mail server: {type(error).__name__}")
