"""How a car joins, is confirmed, changes its keys, is grouped and leaves: over REST and ingest."""

from dataclasses import dataclass, field

import pytest
from fastapi.testclient import TestClient

from fleet_server.broker import users
from fleet_server.cars import groups
from shared.credentials import Rotation, make_verifier
from shared.errors import RefusedError
from shared.ids import sha256_hex
from shared.messages import Batch
from shared.signing import SigningKey
from tests.fleet_server.api.conftest import Login
from tests.fleet_server.fleet import DEPLOYMENT, Fleet, sample

API = "/api/v1"
FIRST, SECOND, THIRD = (SigningKey(bytes([n]) * 32) for n in (1, 2, 3))
VERIFIER = make_verifier("secret", b"salt" * 3)
NAME = "car-7"


@dataclass
class Desk:
    """An operator's desk and a car before it."""

    fleet: Fleet
    client: TestClient
    login: Login
    sent: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    def call(
        self, method: str, path: str, body: object = None, status: int = 200
    ) -> dict[str, object]:
        self.headers = self.headers or self.login("operator")
        answer = self.client.request(method, f"{API}/{path}", json=body, headers=self.headers)
        assert answer.status_code == status, answer.text
        told: dict[str, object] = answer.json()
        return told

    def items(self, path: str) -> list[dict[str, object]]:
        found: list[dict[str, object]] = self.call("GET", path)["items"]  # type: ignore[assignment]  # a list
        return found

    def join(self, key: SigningKey = FIRST) -> None:
        """Enrol the car with `key`."""
        asked = {"device": NAME, "deployment": DEPLOYMENT, "reason": "a new car"}
        code = self.call("POST", "enrolments", asked, 201)["code"]
        self.fleet.keys[NAME] = key
        claim = {
            "code": code,
            "device": NAME,
            "public_key": key.public.raw.hex(),
            "mqtt_secret_sha256": sha256_hex(b"secret"),
            "mqtt_verifier": VERIFIER,
        }
        self.call("POST", "enrolments/claim", claim)

    def confirm(self, key: SigningKey = FIRST, status: int = 200) -> dict[str, object]:
        body = {"fingerprint": key.public.fingerprint, "reason": "compared at the car"}
        return self.call("POST", f"devices/{NAME}/confirm", body, status)

    def revoke(self, status: int = 200) -> dict[str, object]:
        return self.call("POST", f"devices/{NAME}/revoke", {"reason": "it was stolen"}, status)

    def rotate(self, present: SigningKey, new: SigningKey, status: int = 200) -> dict[str, object]:
        secret = "other"
        made = Rotation.make(
            device=NAME,
            present=present,
            new=new,
            mqtt_secret_sha256=sha256_hex(secret.encode()),
            mqtt_verifier=make_verifier(secret, b"salt" * 3),
        )
        body = {
            "device": NAME,
            "public_key": made.public_key.hex(),
            "mqtt_secret_sha256": made.mqtt_secret_sha256,
            "mqtt_verifier": made.mqtt_verifier,
            "by_present": made.by_present.hex(),
            "by_new": made.by_new.hex(),
        }
        return self.call("POST", "enrolments/rotate", body, status)

    def send(self, key: SigningKey) -> str | None:
        """Send one new pair signed by `key`; return what became of it."""
        self.fleet.keys[NAME] = key
        self.sent += 1
        reply = self.fleet.send(Batch(device=NAME, samples=(sample(self.sent, device=NAME),)))
        return None if reply is None else reply.receipt.outcome

    def device(self) -> dict[str, object]:
        return self.call("GET", f"devices/{NAME}")

    def user(self) -> users.User | None:
        return users.read_users(users.users_path(self.fleet.state)).get(NAME)


@pytest.fixture
def desk(fleet: Fleet, client: TestClient, login: Login) -> Desk:
    return Desk(fleet, client, login)


def test_a_car_is_shown_but_not_stored_until_its_fingerprint_is_confirmed(desk: Desk) -> None:
    desk.join()
    assert desk.device()["state"] == "unconfirmed"
    assert desk.device()["desired_revision"] is None
    assert desk.send(FIRST) is None
    assert desk.confirm()["state"] == "confirmed"
    assert desk.device()["desired_revision"] == 1
    assert desk.send(FIRST) == "stored"
    assert desk.fleet.queries.quarantine() == ()
    assert desk.fleet.ingest.outcomes["unproven"] == 1


def test_a_wrong_fingerprint_confirms_nothing_and_the_right_one_twice_changes_nothing(
    desk: Desk,
) -> None:
    desk.join()
    assert "another fingerprint" in str(desk.confirm(SECOND, 422)["detail"])
    assert desk.device()["state"] == "unconfirmed"
    desk.confirm()
    desk.confirm()
    kinds = [each.kind for each in desk.fleet.queries.decisions()]
    assert kinds.count("confirm") == 1


def test_a_car_that_joins_again_with_other_keys_is_to_be_confirmed_again(desk: Desk) -> None:
    desk.join()
    desk.confirm()
    desk.rotate(FIRST, SECOND)
    desk.join(THIRD)
    assert desk.device()["state"] == "unconfirmed"
    desk.confirm(THIRD)
    assert desk.device()["desired_revision"] == 2
    assert desk.send(FIRST) is None
    assert desk.send(THIRD) == "stored"


def test_a_revoked_car_is_unknown_to_the_broker_and_nothing_of_it_is_stored(desk: Desk) -> None:
    desk.join()
    desk.confirm()
    assert desk.user() is not None
    assert desk.revoke()["state"] == "revoked"
    assert desk.user() is None
    assert desk.send(FIRST) is None
    assert desk.fleet.queries.quarantine() == ()
    assert "revoked already" in str(desk.revoke(422)["detail"])
    assert "enrol it anew" in str(desk.confirm(status=422)["detail"])
    assert "enrol it anew" in str(desk.rotate(FIRST, SECOND, 422)["detail"])
    desk.join(SECOND)
    desk.confirm(SECOND)
    assert desk.send(SECOND) == "stored"


def test_new_keys_count_at_once_and_the_former_one_for_a_while(desk: Desk) -> None:
    desk.join()
    desk.confirm()
    desk.rotate(FIRST, SECOND)
    assert desk.device()["fingerprint"] == SECOND.public.fingerprint
    assert desk.device()["state"] == "confirmed"
    user = desk.user()
    assert user is not None
    assert user.secret_sha256 == sha256_hex(b"other")
    assert (desk.send(FIRST), desk.send(SECOND)) == ("stored", "stored")
    desk.fleet.clock.now_us += 86_400_000_001
    assert (desk.send(FIRST), desk.send(SECOND)) == (None, "stored")


def test_a_rotation_may_be_repeated_and_an_old_one_brings_no_old_key_back(desk: Desk) -> None:
    desk.join()
    desk.confirm()
    desk.rotate(FIRST, SECOND)
    desk.rotate(FIRST, SECOND)
    desk.rotate(SECOND, THIRD)
    assert "bad signature" in str(desk.rotate(FIRST, SECOND, 422)["detail"])
    assert desk.device()["fingerprint"] == THIRD.public.fingerprint
    assert [each.kind for each in desk.fleet.queries.decisions()].count("rotate-keys") == 2


def test_nobody_rotates_keys_without_the_present_one(desk: Desk) -> None:
    desk.join()
    desk.rotate(SECOND, THIRD, 422)
    assert desk.device()["fingerprint"] == FIRST.public.fingerprint


def test_a_second_use_of_a_code_is_an_alert(desk: Desk) -> None:
    asked = {"device": NAME, "deployment": DEPLOYMENT, "reason": "a new car"}
    code = desk.call("POST", "enrolments", asked, 201)["code"]
    claim = {
        "code": code,
        "device": NAME,
        "public_key": FIRST.public.raw.hex(),
        "mqtt_secret_sha256": sha256_hex(b"secret"),
    }
    desk.call("POST", "enrolments/claim", claim)
    assert desk.items("alerts") == []
    for _ in range(2):
        desk.call("POST", "enrolments/claim", claim, 422)
    (alert,) = desk.items("alerts")
    assert (alert["kind"], alert["subject"]) == ("enrolment-code-misused", NAME)


@pytest.mark.parametrize("name", ["server", "server-2"])
def test_no_car_is_called_like_the_server(desk: Desk, name: str) -> None:
    asked = {"device": name, "deployment": DEPLOYMENT, "reason": "a new car"}
    assert "a name of the server" in str(desk.call("POST", "enrolments", asked, 422)["detail"])


@pytest.mark.parametrize("verifier", [VERIFIER.replace("101", "999999"), VERIFIER + "\nroot:x"])
def test_a_verifier_of_another_form_is_refused(desk: Desk, verifier: str) -> None:
    asked = {"device": NAME, "deployment": DEPLOYMENT, "reason": "a new car"}
    code = desk.call("POST", "enrolments", asked, 201)["code"]
    claim = {
        "code": code,
        "device": NAME,
        "public_key": FIRST.public.raw.hex(),
        "mqtt_secret_sha256": sha256_hex(b"secret"),
        "mqtt_verifier": verifier,
    }
    desk.call("POST", "enrolments/claim", claim, 422)
    assert desk.user() is None


def test_cars_are_found_by_their_labels(desk: Desk) -> None:
    desk.join()
    desk.fleet.add_car("car-2")
    for car, labels in (
        (NAME, {"place": "garage", "floor": "red"}),
        ("car-2", {"place": "garage"}),
    ):
        body = {"labels": labels, "reason": "where it stands"}
        assert desk.call("PUT", f"devices/{car}/labels", body)["labels"] == labels

    def found(query: str) -> set[object]:
        return {item["device"] for item in desk.items(f"devices?{query}")}

    assert found("label=place=garage") == {NAME, "car-2"}
    assert found("label=place=garage&label=floor=red") == {NAME}
    assert found("label=place=yard") == set()
    desk.call("PUT", f"devices/{NAME}/labels", {"labels": {}, "reason": "moved"})
    assert found("label=floor=red") == set()
    desk.call("GET", "devices?label=garage", status=422)


@pytest.mark.parametrize(
    "labels",
    [{"a b": "x"}, {"a": ""}, {"a": "x" * 65}, {"a": "x=y"}, {str(n): "x" for n in range(33)}],
)
def test_malformed_labels_are_refused(labels: dict[str, str]) -> None:
    with pytest.raises(RefusedError):
        groups.check(labels)


def test_a_stranger_is_answered_while_somebody_writes_and_keeps_no_writer_waiting(
    desk: Desk,
) -> None:
    desk.join()
    guess = {
        "code": "guessed",
        "device": NAME,
        "public_key": "0" * 64,
        "mqtt_secret_sha256": "0" * 64,
    }
    with desk.fleet.database.write():
        assert "not valid" in str(desk.call("POST", "enrolments/claim", guess, 422)["detail"])
        assert "bad signature" in str(desk.rotate(SECOND, THIRD, 422)["detail"])
