"""The ways out: webhooks over HTTP, e-mail over SMTP; translates their faults.

Laws:
- a side that falls silent costs a few seconds, and one that drips its words a quarter of a minute
  at the most: then its connection is cut;
- an address or a name that a person wrote wrong fails its own deliveries and nothing else;
- a redirect is not followed: who is told is who was named in the settings;
- a secret (a mail password, the path of a webhook) is in no error text.
"""

import http.client
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fleet_server.settings import MailSettings, ServerSettings
from fleet_server.telling import rules
from fleet_server.telling.alerts import AlertView
from fleet_server.telling.rules import Channel
from shared.errors import RefusedError, RetryLaterError, UsageError
from shared.signing import SigningKey

_TIMEOUT_S = 5.0
_LONGEST_S = 15.0
_GONE = 410
_UNTOLD = (OSError, OverflowError, ValueError, http.client.HTTPException, smtplib.SMTPException)
"""What the standard library raises where nobody could be told; a ValueError (and so a
UnicodeError) where an address, a name or a password cannot be said at all."""


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """Posts each alert to `url`, signed by `key`, in at most `longest_s` from the connection on."""

    url: str
    key: SigningKey
    longest_s: float = _LONGEST_S

    @property
    def name(self) -> str:
        """The host and a digest of the address."""
        return rules.webhook_name(self.url)

    def tell(self, alert: AlertView, utc_us: int) -> None:
        """Post the alert; any 2xx says that it was taken.

        Raises:
            RetryLaterError: no answer, or none that says so.
            RefusedError: the address is gone (410).
        """
        body = rules.webhook_body(alert)
        number = rules.webhook_id(alert)
        headers = rules.webhook_headers(number, body, utc_us=utc_us, key=self.key)
        status = self._post(body, headers)
        if status == _GONE:
            raise RefusedError("the address is gone (410)")
        if not 200 <= status < 300:
            raise RetryLaterError(f"answered {status}")

    def _post(self, body: bytes, headers: dict[str, str]) -> int:
        try:
            parts = urlsplit(self.url)
            encrypted = parts.scheme == "https"
            kind = http.client.HTTPSConnection if encrypted else http.client.HTTPConnection
            path = parts.path or "/"
            target = f"{path}?{parts.query}" if parts.query else path
            connection = kind(parts.netloc, timeout=_TIMEOUT_S)
            with closing(connection), _cut_after(self.longest_s, connection):
                connection.request("POST", target, body, headers)
                return connection.getresponse().status
        except _UNTOLD as error:
            raise RetryLaterError(f"no answer: {type(error).__name__}") from None


@dataclass(frozen=True, kw_only=True)
class Mail:
    """Sends each alert by e-mail, in at most `longest_s` from the connection on."""

    settings: MailSettings
    longest_s: float = _LONGEST_S

    @property
    def name(self) -> str:
        """One channel for all recipients."""
        return rules.MAIL

    def tell(self, alert: AlertView, utc_us: int) -> None:  # noqa: ARG002 - a mail server stamps mails itself
        """Hand the alert to the mail server.

        Raises:
            RetryLaterError: it did not take it, for all recipients.
            UsageError: the password or the authority cannot be read.
        """
        settings = self.settings
        password = _password(settings)
        try:
            message = rules.mail(
                alert, sender=settings.sender, recipients=tuple(settings.recipients)
            )
            with self._connect() as server:
                if settings.security == "starttls":
                    server.starttls(context=_trust(settings))
                if settings.user is not None and password is not None:
                    server.login(settings.user, password)
                server.send_message(message)
        except smtplib.SMTPResponseException as error:
            raise RetryLaterError(f"the mail server answered {error.smtp_code}") from None
        except _UNTOLD as error:
            raise RetryLaterError(f"the mail server: {type(error).__name__}") from None

    def _connect(self) -> smtplib.SMTP:
        host, port = self.settings.host, self.settings.port
        if self.settings.security == "tls":
            return _EncryptedServer(self.longest_s, host, port, context=_trust(self.settings))
        return _Server(self.longest_s, host, port)


class _Server(smtplib.SMTP):
    """A mail server whose connection is cut after `longest_s`, in its greeting, too."""

    def __init__(self, longest_s: float, host: str, port: int, **how: Any) -> None:
        self._cutting = ExitStack()
        self._cutting.enter_context(_cut_after(longest_s, self))
        super().__init__(host, port, timeout=_TIMEOUT_S, **how)

    def close(self) -> None:
        """Close the connection: nothing is left to cut."""
        self._cutting.close()
        super().close()


class _EncryptedServer(_Server, smtplib.SMTP_SSL):
    """The same, encrypted from its first word on."""


@contextmanager
def _cut_after(
    longest_s: float, connection: http.client.HTTPConnection | smtplib.SMTP
) -> Iterator[None]:
    """Cut what the block waits for: a time-out of a socket counts each wait by itself."""

    def cut() -> None:
        if (line := connection.sock) is not None:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(longest_s, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def channels(settings: ServerSettings, key: SigningKey) -> tuple[Channel, ...]:
    """Return the ways out that an operator set up; `key` signs webhooks."""
    hooks: tuple[Channel, ...] = tuple(Webhook(url=url, key=key) for url in settings.webhooks)
    return (*hooks, Mail(settings=settings.mail)) if settings.mail.recipients else hooks


def webhook_key(state: Path) -> SigningKey:
    """Return the key that signs webhooks, made at the first use: it signs nothing else.

    Raises:
        UsageError: the key file is unusable.
    """
    return SigningKey.load_or_create(state / "keys" / "webhook.key")


def _trust(settings: MailSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except OSError:
        raise UsageError("mail.ca_file cannot be read, or holds no certificate") from None


def _password(settings: MailSettings) -> str | None:
    if settings.password_file is None:
        return None
    try:
        return Path(settings.password_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise UsageError("mail.password_file cannot be read") from None
