"""How people are told of alerts: pure rules, and what is said.

Laws:
- a delivery that failed is tried again after 10 s, and each time after twice as long, up to an
  hour; a day after the alert it is given up, which the alert then shows;
- the same alert is said in the same words at every try, under the same id: whoever was told twice,
  since a kill fell between telling and noting it, can see that;
- what is said holds no address and no secret of a channel.

A webhook follows Standard Webhooks (standardwebhooks.com): the body is signed with Ed25519 (`v1a`)
over `id.timestamp.body`.
"""

import base64
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Protocol

import msgspec

from fleet_server.telling.alerts import AlertView
from shared.ids import sha256_hex
from shared.signing import SigningKey

MAIL = "mail"

_FIRST_PAUSE_US = 10_000_000
_LONGEST_PAUSE_US = 3_600_000_000
_PATIENCE_US = 24 * 3_600_000_000


class Channel(Protocol):
    """One way to tell people."""

    @property
    def name(self) -> str:
        """What the channel is called in `deliveries`; no secret."""
        ...

    def tell(self, alert: AlertView, utc_us: int) -> None:
        """Tell of `alert`, within seconds.

        Raises:
            RetryLaterError: it did not work and may later.
            RefusedError: whoever is told wants to hear no more.
            UsageError: the channel is not set up as it must be; it may be by the next try.
        """
        ...


def pause_us(attempts: int) -> int:
    """Return how long to wait after the try number `attempts`, the first being 1."""
    return min(_FIRST_PAUSE_US << min(attempts - 1, 20), _LONGEST_PAUSE_US)


def is_hopeless(raised_utc_us: int, now_utc_us: int) -> bool:
    """Tell whether an alert is too old to be told of."""
    return now_utc_us - raised_utc_us >= _PATIENCE_US


def webhook_name(url: str) -> str:
    """Return a webhook's channel name: its host and a digest, since its path may be secret."""
    host = url.partition("://")[2].partition("/")[0]
    return f"webhook:{host}:{sha256_hex(url.encode())[:8]}"


def webhook_id(alert: AlertView) -> str:
    """Return the id of an alert's message, the same at each try."""
    return f"alert-{alert.id}"


def webhook_body(alert: AlertView) -> bytes:
    """Return what a webhook is sent of an alert, as JSON."""
    return msgspec.json.encode(
        {
            "type": "alert.raised",
            "timestamp": _moment(alert.utc_us),
            "data": {
                "id": alert.id,
                "kind": alert.kind,
                "severity": alert.severity,
                "deployment": alert.deployment,
                "subject": alert.subject,
                "reason": alert.reason,
                "evidence": alert.evidence,
                "verdict": alert.verdict,
            },
        },
        order="sorted",
    )


def webhook_headers(number: str, body: bytes, *, utc_us: int, key: SigningKey) -> dict[str, str]:
    """Return the headers that let a receiver tell who sent `body`, and when."""
    seconds = str(utc_us // 1_000_000)
    signature = key.sign(f"{number}.{seconds}.".encode() + body)
    return {
        "Content-Type": "application/json",
        "User-Agent": "parkfleet",
        "webhook-id": number,
        "webhook-timestamp": seconds,
        "webhook-signature": f"v1a,{base64.b64encode(signature).decode()}",
    }


def public_key(key: SigningKey) -> str:
    """Return the key that receivers check with, as Standard Webhooks writes it."""
    return f"whpk_{base64.b64encode(key.public.raw).decode()}"


def mail(alert: AlertView, *, sender: str, recipients: tuple[str, ...]) -> EmailMessage:
    """Return an alert as an e-mail."""
    message = EmailMessage()
    where = f" in {alert.deployment}" if alert.deployment else ""
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Subject"] = f"[parkfleet] {alert.severity}: {alert.kind}{where}"
    message["Message-ID"] = f"<{webhook_id(alert)}@{sender.rpartition('@')[2]}>"
    lines = [
        alert.reason,
        "",
        f"kind       {alert.kind}",
        f"severity   {alert.severity}",
        f"about      {alert.subject}",
        f"deployment {alert.deployment or '-'}",
        f"since      {_moment(alert.utc_us)}",
        *(f"{name:<10} {value}" for name, value in sorted(alert.evidence.items())),
        "",
        f"What led to it: GET /api/v1/lineage/alert/{alert.id}",
        f"Say that you have seen it: POST /api/v1/alerts/{alert.id}/acknowledge",
    ]
    message.set_content("\n".join(lines) + "\n")
    return message


def _moment(utc_us: int) -> str:
    return datetime.fromtimestamp(utc_us // 1_000_000, UTC).isoformat().replace("+00:00", "Z")
