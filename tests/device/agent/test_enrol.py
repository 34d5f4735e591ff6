"""Enrolment, against a real HTTP server of this machine."""

import base64
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import certifi
import msgspec
import pytest
from click.testing import CliRunner

from device.agent.enrol import enrol
from device.agent.enrolment import broker_address, load_enrolment, load_signing_key
from device.cli import device
from device.home import Home
from device.journal import Journal
from shared.credentials import is_verifier, make_verifier
from shared.errors import UsageError
from shared.ids import sha256_hex
from shared.messages import Desired
from shared.signing import write_secret
from shared.task import WALL_DISTANCE
from tests.contracts.certificates import Authority
from tests.device.agent.world import Fleet
from tests.device.records import sample

pytestmark = pytest.mark.e2e

SERVER_KEY = "ab" * 32
SECRET = "F3K9Q2TXF3K9Q2TX-_abcd"


@dataclass
class Desk:
    """A server's enrolment desk: what it says, and what it heard."""

    answer: dict[str, object]
    url: str = ""
    code: str = ""
    status: int = 200
    raw: bytes | None = None
    heard: list[dict[str, str]] = field(default_factory=list)


def code_of(server_key: bytes, root: bytes) -> str:
    return ".".join((SECRET, sha256_hex(server_key)[:16], sha256_hex(root)[:16]))


@pytest.fixture
def desk(fleet: Fleet) -> Iterator[Desk]:
    root = fleet.repository.root()
    made = Desk(
        code=code_of(bytes.fromhex(SERVER_KEY), root),
        answer={
            "device": "car-1",
            "broker": {"host": "127.0.0.1", "port": 1883, "ca_pem": None},
            "server_public_key": SERVER_KEY,
            "tuf_root": root.decode(),
            "task": msgspec.to_builtins(WALL_DISTANCE),
            "deployment": "beige",
            "added_in_a_later_version": True,
        },
    )

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            made.heard.append(json.loads(self.rfile.read(length)))
            body = made.raw if made.raw is not None else json.dumps(made.answer).encode()
            self.send_response(made.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "car")


def test_a_car_makes_its_keys_and_shows_only_the_public_halves(desk: Desk, home: Home) -> None:
    enrolment = enrol(home, server_url=desk.url + "/", code=f" {desk.code} ", device="car-1")
    (claim,) = desk.heard
    key = load_signing_key(home)
    secret = home.mqtt_secret.read_text()
    verifier = claim.pop("mqtt_verifier")
    salt = base64.b64decode(verifier.split("$")[3])
    assert is_verifier(verifier)
    assert verifier == make_verifier(secret, salt)
    assert claim == {
        "code": desk.code,
        "device": "car-1",
        "public_key": key.public.raw.hex(),
        "mqtt_secret_sha256": sha256_hex(secret.encode()),
    }
    assert load_enrolment(home) == enrolment
    assert enrolment.server_key.raw.hex() == SERVER_KEY
    assert enrolment.task == WALL_DISTANCE
    address = broker_address(home, enrolment)
    assert (address.user, address.password, address.ca_file) == ("car-1", secret, None)
    for path in (home.signing_key, home.mqtt_secret, home.enrolment):
        assert path.stat().st_mode & 0o777 == 0o600
    assert home.identity(home.settings()).device == "car-1"


def test_a_brokers_certificate_is_kept(desk: Desk, home: Home) -> None:
    pem = Path(certifi.where()).read_text()
    desk.answer["broker"] = {"host": "broker", "port": 8883, "ca_pem": pem}
    address = broker_address(home, enrol(home, server_url=desk.url, code=desk.code, device="car-1"))
    assert address.ca_file == str(home.broker_ca)
    assert home.broker_ca.read_text() == pem


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_brokers_certificate_that_is_gone_or_damaged_is_said_in_one_line(
    desk: Desk, home: Home, content: bytes | None
) -> None:
    desk.answer["broker"] = {"host": "127.0.0.1", "port": 8883, "ca_pem": "-----BEGIN"}
    enrolment = enrol(home, server_url=desk.url, code=desk.code, device="car-1")
    home.broker_ca.unlink()
    if content is not None:
        home.broker_ca.write_bytes(content)
    with pytest.raises(UsageError, match=r"broker-ca\.pem: .*enrol again with --force$"):
        broker_address(home, enrolment)


def test_a_certificate_for_the_broker_is_used_whole_or_not_at_all(
    desk: Desk, home: Home, tmp_path: Path
) -> None:
    desk.answer["broker"] = {"host": "b", "port": 8883, "ca_pem": Path(certifi.where()).read_text()}
    enrolment = enrol(home, server_url=desk.url, code=desk.code, device="car-1")
    certificate, key = Authority.make(tmp_path).issue("car-1")
    shutil.copy(certificate, home.broker_certificate)
    with pytest.raises(UsageError, match="go together"):
        broker_address(home, enrolment)
    home.broker_certificate_key.write_text("no key")
    with pytest.raises(UsageError, match="cannot use"):
        broker_address(home, enrolment)
    shutil.copy(key, home.broker_certificate_key)
    files = (str(home.broker_certificate), str(home.broker_certificate_key))
    assert broker_address(home, enrolment).certificate == files


def test_a_code_on_standard_input_shows_in_no_list_of_processes(desk: Desk, home: Home) -> None:
    arguments = ["enrol", "--home", str(home.root), "--server", desk.url, "--name", "car-1"]
    done = CliRunner().invoke(device, [*arguments, "--code", "-"], input=f"{desk.code}\n")
    fingerprint = load_signing_key(home).public.fingerprint
    told = f"car-1 is enrolled in beige; fingerprint {fingerprint}\n"
    assert (done.exit_code, done.output) == (0, told)
    assert [heard["code"] for heard in desk.heard] == [desk.code]


def test_a_second_enrolment_needs_force_and_then_makes_new_keys(desk: Desk, home: Home) -> None:
    enrol(home, server_url=desk.url, code=desk.code, device="car-1")
    first = home.signing_key.read_bytes()
    with pytest.raises(UsageError, match="enrolled already"):
        enrol(home, server_url=desk.url, code=desk.code, device="car-1")
    assert len(desk.heard) == 1
    journal = Journal.open(home.journal)
    journal.set_desired(Desired(device="car-1", epoch=5, revision=5, deployment="old"))
    enrol(home, server_url=desk.url, code=desk.code, device="car-1", force=True)
    assert home.signing_key.read_bytes() != first
    wish = journal.desired()
    journal.close()
    assert wish is not None
    assert (wish.epoch, wish.revision, wish.deployment) == (0, 0, "beige")


def test_a_refused_enrolment_changes_nothing(desk: Desk, home: Home) -> None:
    enrol(home, server_url=desk.url, code=desk.code, device="car-1")
    before = {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()}
    desk.status, desk.raw = 403, b'{"title": "Forbidden", "detail": "the code was used"}'
    with pytest.raises(UsageError, match="the server refused: the code was used"):
        enrol(home, server_url=desk.url, code=desk.code, device="car-1", force=True)
    assert {p: p.read_bytes() for p in home.root.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("device", "car-2"),
        ("device", "../car"),
        ("tuf_root", "{}"),
        ("tuf_root", '{"signatures": [], "signed": {"_type": "root"}}'),
        ("server_public_key", "ab"),
        ("broker", {"host": "", "port": 1}),
        ("broker", {"host": "h", "port": 0}),
        ("task", {}),
    ],
)
def test_an_answer_that_is_not_a_fleet_servers_is_refused(
    desk: Desk, home: Home, field: str, value: object
) -> None:
    desk.answer[field] = value
    with pytest.raises(UsageError):
        enrol(home, server_url=desk.url, code=desk.code, device="car-1")
    assert not home.enrolment.exists()
    assert not home.signing_key.exists()


@pytest.mark.parametrize("raw", [b"", b"[" * 100_000, b"\xff", b'{"a": 1}', b" " * 1_100_000])
def test_rubbish_is_refused_in_one_line(desk: Desk, home: Home, raw: bytes) -> None:
    desk.raw = raw
    with pytest.raises(UsageError) as caught:
        enrol(home, server_url=desk.url, code=desk.code, device="car-1")
    assert len(str(caught.value)) < 400
    desk.status = 500
    with pytest.raises(UsageError, match="HTTP 500"):
        enrol(home, server_url=desk.url, code=desk.code, device="car-1")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("fleet.example", "no address"),
        ("ftp://127.0.0.1", "no address"),
        ("http://fleet.example:8080", "in the clear"),
        ("http://127.0.0.1:1", "no server answers"),
    ],
)
def test_a_wrong_address_says_what_is_wrong(home: Home, url: str, reason: str) -> None:
    code = code_of(b"", b"")
    with pytest.raises(UsageError, match=reason):
        enrol(home, server_url=url, code=code, device="car-1")


def test_a_bad_name_is_refused_before_anything_is_sent(desk: Desk, home: Home) -> None:
    with pytest.raises(UsageError, match="no car may be called"):
        enrol(home, server_url=desk.url, code=desk.code, device="Car/1")
    assert desk.heard == []


@pytest.mark.parametrize("other", ["key", "root", "both"])
def test_a_server_that_the_code_does_not_name_is_refused_and_nothing_kept(
    desk: Desk, home: Home, fleet: Fleet, other: str
) -> None:
    key = bytes.fromhex(SERVER_KEY) if other == "root" else b"k" * 32
    root = fleet.repository.root() if other == "key" else b"another fleet's"
    with pytest.raises(UsageError, match="not the server that the code is from"):
        enrol(home, server_url=desk.url, code=code_of(key, root), device="car-1")
    assert [path for path in home.root.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "code",
    ["", "c0de", SECRET, f"{SECRET}.{'0' * 16}", f"{SECRET}.{'0' * 16}.{'0' * 15}", "x" * 99],
)
def test_a_code_that_names_no_server_is_not_sent(desk: Desk, home: Home, code: str) -> None:
    with pytest.raises(UsageError, match="no enrolment code"):
        enrol(home, server_url=desk.url, code=code, device="car-1")
    assert desk.heard == []


def test_pairs_that_wait_under_another_name_are_not_given_up_by_accident(
    desk: Desk, home: Home
) -> None:
    home.create()
    journal = Journal.open(home.journal)
    journal.append(samples=[(sample(1), None)])
    (waiting,) = journal.unsent_samples(9)
    journal.close()
    desk.answer["device"] = "car-9"
    with pytest.raises(UsageError, match=f"1 pairs .* recorded as {waiting.device}"):
        enrol(home, server_url=desk.url, code=desk.code, device="car-9")
    assert desk.heard == []
    enrol(home, server_url=desk.url, code=desk.code, device="car-9", force=True)
    desk.answer["device"] = waiting.device
    enrol(home, server_url=desk.url, code=desk.code, device=waiting.device, force=True)


def test_killed_at_any_write_a_car_is_enrolled_in_one_fleet_or_in_none(
    desk: Desk, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(home, server_url=desk.url, code=desk.code, device="car-1")

    class KilledError(BaseException):
        pass

    for survives in range(4):
        left = [survives]

        def write(path: Path, data: bytes, left: list[int] = left) -> None:
            if left[0] == 0:
                raise KilledError
            left[0] -= 1
            write_secret(path, data)

        monkeypatch.setattr("device.agent.enrol.write_secret", write)
        with pytest.raises(KilledError):
            enrol(home, server_url=desk.url, code=desk.code, device="car-1", force=True)
        monkeypatch.undo()
        assert not home.enrolment.exists()
        with pytest.raises(UsageError, match="is not enrolled"):
            load_enrolment(home)
    enrol(home, server_url=desk.url, code=desk.code, device="car-1")
    assert load_enrolment(home).device == "car-1"
    assert load_signing_key(home).public.raw.hex() == desk.heard[-1]["public_key"]
