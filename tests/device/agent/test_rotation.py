"""New keys: made before the server hears of them, in force after it agreed, whoever dies when."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from device.agent import rotation
from device.agent.enrolment import Enrolment
from device.cli import device
from device.home import Home
from device.journal import Journal
from shared.credentials import Rotation
from shared.errors import RetryLaterError, SignatureError, UsageError
from shared.ids import sha256_hex
from shared.signing import SigningKey, VerifyKey, write_secret
from tests.device.agent.world import DEVICE, Fleet, enrolled_home
from tests.device.records import JPEG, sample

pytestmark = pytest.mark.e2e


@dataclass
class Desk:
    """A server that keeps a car's key as ours does, and may die before it answers."""

    key: VerifyKey
    url: str = ""
    dies: bool = False
    lies: bool = False
    status: int = 200
    heard: list[Rotation] = field(default_factory=list)

    def take(self, said: dict[str, str]) -> dict[str, str]:
        made = Rotation(
            device=said["device"],
            public_key=bytes.fromhex(said["public_key"]),
            mqtt_secret_sha256=said["mqtt_secret_sha256"],
            mqtt_verifier=said["mqtt_verifier"],
            by_present=bytes.fromhex(said["by_present"]),
            by_new=bytes.fromhex(said["by_new"]),
        )
        made.check(VerifyKey(made.public_key) if made.public_key == self.key.raw else self.key)
        self.heard.append(made)
        self.key = VerifyKey(made.public_key)
        return {
            "device": said["device"],
            "public_key": "0" * 64 if self.lies else said["public_key"],
        }


@pytest.fixture
def home(tmp_path: Path, fleet: Fleet) -> Home:
    return enrolled_home(tmp_path / "car", fleet)


@pytest.fixture
def desk(home: Home) -> Iterator[Desk]:
    made = Desk(SigningKey.load(home.signing_key).public)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = json.dumps(made.take(json.loads(self.rfile.read(length)))).encode()
            if made.dies:
                return
            self.send_response(made.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    enrolment = msgspec.json.decode(home.enrolment.read_bytes(), type=Enrolment)
    here = msgspec.structs.replace(enrolment, server_url=made.url)
    write_secret(home.enrolment, msgspec.json.encode(here))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def key_of(home: Home) -> bytes:
    return SigningKey.load(home.signing_key).public.raw


def files_agree(home: Home, desk: Desk) -> bool:
    """Tell whether key and secret are those that the server knows, and nothing waits."""
    secret = home.mqtt_secret.read_bytes()
    return (
        key_of(home) == desk.key.raw
        and sha256_hex(secret) == desk.heard[-1].mqtt_secret_sha256
        and not rotation.is_pending(home)
        and not home.next_mqtt_secret.exists()
    )


def test_new_keys_are_in_force_on_both_sides_and_the_journal_is_as_it_was(
    home: Home, desk: Desk
) -> None:
    journal = Journal.open(home.journal)
    journal.append(samples=[(sample(n), JPEG) for n in range(3)], manoeuvres=[])
    before, enrolled = key_of(home), home.enrolment.read_bytes()
    assert rotation.rotate(home) == desk.key.fingerprint
    assert files_agree(home, desk)
    assert key_of(home) != before
    assert home.enrolment.read_bytes() == enrolled
    assert journal.counts().queue_depth == 3
    journal.close()
    for path in (home.signing_key, home.mqtt_secret):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_server_that_agreed_and_was_not_heard_is_asked_again_for_the_same_keys(
    home: Home, desk: Desk
) -> None:
    before = key_of(home)
    desk.dies = True
    with pytest.raises(RetryLaterError):
        rotation.rotate(home)
    assert key_of(home) == before
    assert rotation.is_pending(home)
    desk.dies = False
    rotation.rotate(home)
    first, second = desk.heard
    assert first.public_key == second.public_key
    assert files_agree(home, desk)


@pytest.mark.parametrize("files", [1, 2, 3])
def test_a_kill_while_keys_are_put_in_force_is_taken_up(
    home: Home, desk: Desk, files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stop after so many of the steps that put keys in force, as a kill does."""
    left = files

    def counted(path: Path, data: bytes) -> None:
        nonlocal left
        if "next" not in path.name:
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
        write_secret(path, data)

    with monkeypatch.context() as killed:
        killed.setattr(rotation, "write_secret", counted)
        if files < 2:
            with pytest.raises(KeyboardInterrupt):
                rotation.rotate(home)
        else:
            killed.setattr(Path, "unlink", _die)
            with pytest.raises(KeyboardInterrupt):
                rotation.rotate(home)
    assert rotation.is_pending(home)
    rotation.rotate(home)
    assert files_agree(home, desk)


def _die(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_refusal_leaves_the_old_keys_in_force(home: Home, desk: Desk) -> None:
    before = key_of(home)
    desk.status = 422
    with pytest.raises(UsageError, match="refused"):
        rotation.rotate(home)
    assert key_of(home) == before


def test_agreement_to_other_keys_changes_nothing(home: Home, desk: Desk) -> None:
    before = key_of(home)
    desk.lies = True
    with pytest.raises(UsageError, match="other keys"):
        rotation.rotate(home)
    assert key_of(home) == before


def test_a_proof_is_worth_nothing_for_other_keys(home: Home, desk: Desk) -> None:
    rotation.rotate(home)
    (made,) = desk.heard
    present, other = SigningKey.load(home.signing_key), SigningKey(b"o" * 32)
    for changed in (
        {"public_key": other.public.raw},
        {"mqtt_secret_sha256": "0" * 64},
        {"device": "car-2"},
        {"by_new": other.sign(b"x")},
    ):
        fields = {name: getattr(made, name) for name in made.__dataclass_fields__} | changed
        with pytest.raises(SignatureError):
            Rotation(**fields).check(present.public)


def test_the_verb_tells_the_new_fingerprint_and_wants_no_code(home: Home, desk: Desk) -> None:
    done = CliRunner().invoke(device, ["enrol", "--home", str(home.root), "--rotate", "--json"])
    told = json.loads(done.stdout)
    assert (done.exit_code, told["device"]) == (0, DEVICE)
    assert told["fingerprint"] == desk.key.fingerprint
    arguments = ["enrol", "--home", str(home.root), "--rotate", "--code", "X"]
    assert "give it alone" in str(CliRunner().invoke(device, arguments).exception)


def test_a_car_that_is_not_enrolled_has_no_keys_to_change(tmp_path: Path) -> None:
    home = Home(tmp_path / "new")
    home.create()
    with pytest.raises(UsageError, match="not enrolled"):
        rotation.rotate(home)
