"""People are told of alerts: what is raised, when it ends, and how it reaches them."""

import base64
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
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
from sqlalchemy import insert

from fleet_server import alerts, telling
from fleet_server.alerts import Cause
from fleet_server.channels import Mail, Webhook, channels
from fleet_server.releases.online import OnlineRepository
from fleet_server.settings import MailSettings, ServerSettings
from fleet_server.storage.tables import devices, training_jobs
from fleet_server.teller import Teller
from fleet_server.telling import Channel
from fleet_server.watch import Watch, releases_due
from shared.errors import RefusedError, RetryLaterError, SignatureError, UsageError
from shared.messages import Batch
from shared.signing import SigningKey
from tests.fleet_server.fleet import DEPLOYMENT, START_US, Fleet, drive, sample

HOUR_US = 3_600_000_000
KEY = SigningKey(b"w" * 32)
CAUSE = Cause(
    key="car-silent/car-1",
    kind="car-silent",
    severity="warning",
    subject="car-1",
    reason="nothing was heard of car-1",
    deployment=DEPLOYMENT,
    evidence={"last_seen_utc_us": 1},
)


@dataclass
class Hook:
    """A receiver of webhooks, which answers what it is told to, 200 at last."""

    answers: list[int] = field(default_factory=list)
    received: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            made.received.append((self.path, headers, body))
            self.send_response(made.answers.pop(0) if made.answers else 200)
            self.send_header("Location", made.url)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        made.url = f"http://127.0.0.1:{server.server_port}/in?token=secret"
        yield made
        server.shutdown()
        thread.join()


def _raise(fleet: Fleet, cause: Cause = CAUSE) -> int:
    with fleet.database.write() as connection:
        number = alerts.raise_alert(connection, cause, utc_us=fleet.clock.utc_us())
    assert number is not None
    return number


def _teller(fleet: Fleet, *ways: Channel, settings: ServerSettings | None = None) -> Teller:
    repository = OnlineRepository.open(fleet.state, fleet.clock)
    watch = Watch(
        fleet.database,
        repository,
        settings or ServerSettings(car_silent_s=1e9),
        fleet.clock,
    )
    return Teller(fleet.database, watch, ways, fleet.clock)


def _turn(teller: Teller) -> None:
    teller.turn(threading.Event())


def _shown(fleet: Fleet) -> list[tuple[str, bool]]:
    """Return kind of each alert, and whether it is open."""
    return [(each.kind, each.ended_utc_us is None) for each in alerts.listed(fleet.database)]


def _signature_of(headers: dict[str, str], body: bytes) -> None:
    """Check a webhook as its receiver would, from the documentation alone."""
    version, _, encoded = headers["webhook-signature"].partition(",")
    assert version == "v1a"
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    KEY.public.verify(base64.b64decode(encoded), signed)


def test_a_webhook_is_told_once_in_words_that_prove_their_sender(fleet: Fleet, hook: Hook) -> None:
    number = _raise(fleet)
    teller = _teller(fleet, Webhook(url=hook.url, key=KEY))
    _turn(teller)
    _turn(teller)
    ((path, headers, body),) = hook.received
    assert path == "/in?token=secret"
    assert headers["webhook-id"] == f"alert-{number}"
    _signature_of(headers, body)
    with pytest.raises(SignatureError):
        _signature_of(headers, body + b" ")
    said = msgspec.json.decode(body)
    assert said["type"] == "alert.raised"
    assert said["data"]["reason"] == CAUSE.reason
    (view,) = alerts.listed(fleet.database)
    assert view.deliveries[0].delivered_utc_us == START_US
    assert "secret" not in view.deliveries[0].channel
    public = telling.public_key(KEY)
    assert base64.b64decode(public.removeprefix("whpk_")) == KEY.public.raw


def test_a_webhook_that_fails_is_tried_again_ever_later_in_the_same_words(
    fleet: Fleet, hook: Hook
) -> None:
    hook.answers = [500, 302, 503]
    _raise(fleet)
    teller = _teller(fleet, Webhook(url=hook.url, key=KEY))
    tries = []
    for _ in range(100):
        before = len(hook.received)
        _turn(teller)
        if len(hook.received) > before:
            tries.append((fleet.clock.now_us - START_US) // 1_000_000)
        fleet.clock.now_us += 1_000_000
    assert tries == [0, 10, 30, 70]
    assert len({body for _, _, body in hook.received}) == 1
    assert len({headers["webhook-id"] for _, headers, _ in hook.received}) == 1
    (view,) = alerts.listed(fleet.database)
    assert (view.deliveries[0].attempts, view.deliveries[0].problem) == (4, "")


def test_what_cannot_be_told_is_given_up_after_a_day_and_says_so(fleet: Fleet) -> None:
    _raise(fleet)
    nobody = Webhook(url="http://127.0.0.1:9/", key=KEY)
    teller = _teller(fleet, nobody)
    for _ in range(26):
        _turn(teller)
        fleet.clock.now_us += HOUR_US
    (view,) = alerts.listed(fleet.database)
    (told,) = view.deliveries
    assert told.delivered_utc_us is None
    assert told.given_up_utc_us is not None
    assert told.given_up_utc_us >= START_US + 24 * HOUR_US
    assert told.problem == "no answer: ConnectionRefusedError"
    assert alerts.deliveries_by_state(fleet.database)["given_up"] == 1


def test_a_receiver_that_is_gone_is_left_in_peace(fleet: Fleet, hook: Hook) -> None:
    hook.answers = [410]
    _raise(fleet)
    teller = _teller(fleet, Webhook(url=hook.url, key=KEY))
    for _ in range(5):
        _turn(teller)
        fleet.clock.now_us += HOUR_US
    assert len(hook.received) == 1


def test_one_channel_that_fails_does_not_keep_another_from_being_told(
    fleet: Fleet, hook: Hook
) -> None:
    _raise(fleet)
    _turn(
        _teller(fleet, Webhook(url="http://127.0.0.1:9/", key=KEY), Webhook(url=hook.url, key=KEY))
    )
    assert len(hook.received) == 1


@pytest.mark.parametrize(("attempts", "pause_s"), [(1, 10), (2, 20), (9, 2560), (10, 3600)])
def test_pauses_double_up_to_an_hour(attempts: int, pause_s: int) -> None:
    assert telling.pause_us(attempts) == pause_s * 1_000_000
    assert telling.pause_us(10_000) == HOUR_US


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
    server = Controller(box, hostname="127.0.0.1", port=_free_port())
    server.start()
    yield box, server.port
    server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _mail(port: int, **changes: Any) -> MailSettings:
    fields: dict[str, Any] = {
        "port": port,
        "security": "none",
        "sender": "fleet@example.org",
        "recipients": ("a@example.org", "b@example.org"),
    }
    return MailSettings(**(fields | changes))


@pytest.mark.e2e
def test_a_mail_reaches_every_recipient_and_says_what_and_where_to_look(
    fleet: Fleet, mail_server: tuple[Postbox, int]
) -> None:
    box, port = mail_server
    number = _raise(fleet)
    teller = _teller(fleet, Mail(settings=_mail(port)))
    _turn(teller)
    _turn(teller)
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
        port=_free_port(),
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


def test_a_silent_car_alerts_once_and_until_it_speaks_again(fleet: Fleet) -> None:
    fleet.send(drive(0))
    teller = _teller(fleet, settings=ServerSettings(car_silent_s=60.0))
    _turn(teller)
    assert _shown(fleet) == []
    for _ in range(3):
        fleet.clock.now_us += 61_000_000
        _turn(teller)
    assert _shown(fleet) == [("car-silent", True)]
    fleet.send(drive(1))
    fleet.clock.now_us += 10_000_000
    _turn(teller)
    assert _shown(fleet) == [("car-silent", False)]


def test_refused_messages_alert_from_a_number_on_and_for_an_hour(fleet: Fleet) -> None:
    settings = ServerSettings(refused_an_hour=3, car_silent_s=1e9)
    teller = _teller(fleet, settings=settings)
    for number in range(2):
        fleet.send(Batch(device="car-1", samples=(sample(number, label=1e7),)))
    _turn(teller)
    assert _shown(fleet) == []
    fleet.send(Batch(device="car-1", samples=(sample(3, label=1e7),)))
    fleet.clock.now_us += 10_000_000
    _turn(teller)
    assert _shown(fleet) == [("messages-refused", True)]
    fleet.clock.now_us += HOUR_US
    _turn(teller)
    assert _shown(fleet) == [("messages-refused", False)]


def test_a_failed_training_alerts_until_another_is_asked_for(fleet: Fleet) -> None:
    job = {
        "deployment": DEPLOYMENT,
        "reason": "r",
        "decision": 1,
        "created_utc_us": 0,
        "changed_utc_us": 0,
    }
    with fleet.database.write() as connection:
        connection.execute(insert(training_jobs).values(**job, state="failed", message="no room"))
    teller = _teller(fleet)
    _turn(teller)
    assert _shown(fleet) == [("training-failed", True)]
    with fleet.database.write() as connection:
        connection.execute(insert(training_jobs).values(**job, state="queued"))
    fleet.clock.now_us += 10_000_000
    _turn(teller)
    assert _shown(fleet) == [("training-failed", False)]


@pytest.mark.parametrize(
    ("days_left", "severity"), [(46, None), (44, "warning"), (8, "critical"), (-1, "critical")]
)
def test_release_metadata_alerts_past_half_of_its_life_and_again_near_its_end(
    days_left: float, severity: str | None
) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    lives = {"targets": (now + timedelta(days=days_left), timedelta(days=90))}
    found = [cause.severity for cause in releases_due(lives, now)]
    assert found == ([] if severity is None else [severity])


def test_an_alert_of_an_event_stays_until_somebody_acknowledges_it(fleet: Fleet) -> None:
    cause = Cause(
        key="enrolment/1",
        kind="enrolment-code-misused",
        severity="critical",
        subject="car-7",
        reason="a code came twice",
    )
    number = _raise(fleet, cause)
    _turn(_teller(fleet))
    assert _shown(fleet) == [("enrolment-code-misused", True)]
    with fleet.database.write() as connection:
        assert alerts.raise_alert(connection, cause, utc_us=START_US) is None
        assert alerts.acknowledge(connection, number, by="me", utc_us=START_US)
        assert not alerts.acknowledge(connection, number, by="you", utc_us=START_US)
    assert _shown(fleet) == [("enrolment-code-misused", False)]


def test_a_refusal_is_no_retry(fleet: Fleet) -> None:
    @dataclass
    class Stubborn:
        name: str = "stubborn"
        asked: int = 0

        def tell(self, _alert: alerts.AlertView, _utc_us: int) -> None:
            self.asked += 1
            raise RefusedError("no more")

    way = Stubborn()
    _raise(fleet)
    teller = _teller(fleet, way)
    for _ in range(3):
        _turn(teller)
        fleet.clock.now_us += HOUR_US
    assert way.asked == 1


@pytest.mark.e2e
def test_a_running_server_tells_of_a_silent_car_by_itself(tmp_path: Path, hook: Hook) -> None:
    state = tmp_path / "server"
    made = Fleet(state)
    made.add_car()
    with made.database.write() as connection:
        connection.execute(devices.update().values(enrolled_utc_us=0))
    made.close()
    (state / "server.toml").write_text(
        f'webhooks = ["{hook.url}"]\ncar_silent_s = 60.0\nbroker_port = {_free_port()}\n'
    )
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "shared", "server", "--state", str(state), "--role", "control"],
            stdout=log,
            stderr=log,
        )
        try:
            deadline = time.monotonic() + 30.0
            while not hook.received:
                assert server.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.05)
        finally:
            server.terminate()
            assert server.wait(20) == 0
    ((_, headers, body),) = hook.received
    assert msgspec.json.decode(body)["data"]["subject"] == "car-1"
    key = SigningKey.load(state / "keys" / "webhook.key")
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key.public.verify(base64.b64decode(headers["webhook-signature"].removeprefix("v1a,")), signed)
