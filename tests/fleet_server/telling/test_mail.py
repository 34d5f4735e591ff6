"""What is told goes out by mail, over the encryption that was asked for."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import Message
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from fleet_server.settings import MailSettings, ServerSettings
from fleet_server.telling import alerts
from fleet_server.telling.channels import Mail, Webhook, channels
from hardware_sim.lab.fleet import free_port
from shared.errors import RetryLaterError, UsageError
from tests.fleet_server.fleet import DEPLOYMENT, START_US, Fleet
from tests.fleet_server.telling.telling import CAUSE, KEY, dripping, raised, teller_of, turn


class Postbox:
    """Keeps the mails that a mail server takes."""

    def __init__(self) -> None:
        self.taken: list[tuple[Envelope, Message]] = []

    async def handle_DATA(  # noqa: N802 - the library's own name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        content: Any = envelope.content
        self.taken.append((envelope, message_from_bytes(content)))
        return "250 taken"


@pytest.fixture
def mail_server() -> Iterator[tuple[Postbox, int]]:
    box = Postbox()
    server = Controller(box, hostname="127.0.0.1", port=free_port())
    server.start()
    yield box, server.port
    server.stop()


def _mail(port: int, **changes: Any) -> MailSettings:
    fields: dict[str, Any] = {
        "port": port,
        "security": "none",
        "sender": "fleet@example.org",
        "recipients": ("a@example.org", "b@example.org"),
    }
    return MailSettings(**(fields | changes))


@pytest.mark.parametrize(
    "changes",
    [{"sender": "fleet\n@example.org"}, {"host": "a" * 80 + ".example"}, {"host": "[::"}],
)
def test_a_mail_that_cannot_be_said_as_written_is_a_failed_delivery_and_ends_nothing(
    fleet: Fleet, changes: dict[str, str]
) -> None:
    raised(fleet)
    turn(teller_of(fleet, Mail(settings=_mail(9, **changes))))
    (view,) = alerts.listed(fleet.database)
    (told,) = view.deliveries
    assert told.attempts == 1
    assert told.problem.startswith("the mail server: ")


@pytest.mark.e2e
def test_a_mail_reaches_every_recipient_and_says_what_and_where_to_look(
    fleet: Fleet, mail_server: tuple[Postbox, int]
) -> None:
    box, port = mail_server
    number = raised(fleet)
    teller = teller_of(fleet, Mail(settings=_mail(port)))
    turn(teller)
    turn(teller)
    ((envelope, message),) = box.taken
    assert envelope.rcpt_tos == ["a@example.org", "b@example.org"]
    assert message["Subject"] == f"[parkfleet] warning: car-silent in {DEPLOYMENT}"
    assert message["Message-ID"] == f"<alert-{number}@example.org>"
    text = str(message.get_payload())
    assert CAUSE.reason in text
    assert f"/api/v1/lineage/alert/{number}" in text


@pytest.mark.e2e
def test_a_mail_server_without_the_encryption_asked_for_gets_no_mail_and_no_password(
    fleet: Fleet, mail_server: tuple[Postbox, int], tmp_path: Path
) -> None:
    box, port = mail_server
    (tmp_path / "password").write_text("hush\n")
    settings = _mail(
        port, security="starttls", user="fleet", password_file=str(tmp_path / "password")
    )
    with pytest.raises(RetryLaterError, match="mail server"):
        _tell(fleet, settings)
    assert box.taken == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a certificate for 127.0.0.1 that vouches for itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, None)
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.e2e
def test_over_encryption_the_right_password_gets_the_mail_through_and_no_other(
    fleet: Fleet, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    known = []

    def authenticate(
        _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: LoginPassword
    ) -> AuthResult:
        known.append((data.login, data.password))
        return AuthResult(success=data.password == b"hush", handled=False)

    box = Postbox()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    server = Controller(
        box,
        hostname="127.0.0.1",
        port=free_port(),
        tls_context=context,
        require_starttls=True,
        authenticator=authenticate,
        auth_required=True,
    )
    server.start()
    secret = tmp_path / "password"
    settings = _mail(server.port, security="starttls", user="fleet", password_file=str(secret))
    trusting = msgspec.structs.replace(settings, ca_file=str(certificate[0]))
    try:
        secret.write_text("hush\n")
        with pytest.raises(RetryLaterError, match="SSLCertVerificationError"):
            _tell(fleet, settings)
        assert known == []
        secret.write_text("wrong\n")
        with pytest.raises(RetryLaterError, match="535") as refused:
            _tell(fleet, trusting)
        assert "wrong" not in str(refused.value)
        secret.write_text("hush\n")
        _tell(fleet, trusting)
    finally:
        server.stop()
    assert len(box.taken) == 1
    assert known[-1] == (b"fleet", b"hush")


def _tell(fleet: Fleet, settings: MailSettings) -> None:
    with fleet.database.write() as connection:
        alerts.raise_alert(connection, CAUSE, utc_us=START_US)
    Mail(settings=settings).tell(alerts.listed(fleet.database)[0], START_US)


def test_a_missing_password_file_is_said_and_nothing_is_sent(fleet: Fleet) -> None:
    with pytest.raises(UsageError, match="password_file"):
        _tell(fleet, _mail(9, password_file="/nowhere/password"))


def test_channels_are_those_that_were_set_up() -> None:
    assert channels(ServerSettings(), KEY) == ()
    both = channels(
        ServerSettings(webhooks=("https://a.example/x",), mail=MailSettings(recipients=("a@b",))),
        KEY,
    )
    assert [type(each) for each in both] == [Webhook, Mail]


@pytest.mark.parametrize("first", [b"220 ", b"220 here\r\n250-"])
def test_a_mail_server_that_drips_its_words_is_cut_off(fleet: Fleet, first: bytes) -> None:
    number = raised(fleet)
    (alert,) = alerts.listed(fleet.database, number=number)
    with dripping(first) as port, pytest.raises(RetryLaterError, match="the mail server"):
        Mail(settings=_mail(port), longest_s=0.2).tell(alert, START_US)
