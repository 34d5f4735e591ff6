import pytest

from fleet_server.broker.access import Access, Knock, Publish
from fleet_server.broker.users import Role, User
from shared import topics
from shared.ids import sha256_hex


def user(role: Role) -> User:
    return User(role=role, secret_sha256=sha256_hex(role.encode()))


ACCESS = Access({"server": user("server"), "car-1": user("device"), "anna": user("operator")})
OWN = topics.PRESENCE.topic(id="car-1")
FOREIGN = topics.PRESENCE.topic(id="car-2")


def say(topic: str, size_bytes: int = 10, *, retained: bool = False, qos: int = 1) -> Publish:
    return Publish(topic=topic, size_bytes=size_bytes, retained=retained, qos=qos)


def knock(
    name: str = "car-1",
    secret: str = "device",  # noqa: S107 - a made-up one
    client_id: str = "car-1",
    will: Publish | None = None,
) -> Knock:
    return Knock(client_id=client_id, user=name, secret=secret, will=will)


def test_a_car_with_its_own_name_secret_and_will_is_welcome() -> None:
    assert ACCESS.refuse_connection(knock(will=say(OWN, retained=True))) is None


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (knock(secret="wrong"), "secret"),
        (knock(name="car-9"), "unknown user"),
        (knock(name=""), "unknown user"),
        (knock(client_id="car-2"), "client id"),
        (knock(client_id="server-2"), "client id"),
        (knock(will=say(FOREIGN)), "last will: not this user's topic"),
        (knock(will=say("fleet/v1/secret")), "last will: no topic of ours"),
        (knock(will=say(OWN, 10_000)), "last will: 10000 bytes"),
        (knock(will=say(OWN, qos=3)), "last will: quality of service"),
    ],
)
def test_a_connection_is_refused_with_its_reason(asked: Knock, reason: str) -> None:
    assert reason in (ACCESS.refuse_connection(asked) or "")


def test_a_knock_never_shows_its_secret() -> None:
    assert "device" not in repr(knock())


@pytest.mark.parametrize("name", ["server", "server-ingest-1"])
def test_each_process_of_the_server_is_a_user_with_the_servers_secret(name: str) -> None:
    assert ACCESS.refuse_connection(knock(name, "server", name)) is None
    assert ACCESS.refuse_connection(knock(name, "device", name)) is not None
    assert ACCESS.refuse_publish(name, say(topics.DESIRED.topic(id="car-1"))) is None
    assert "client id" in (ACCESS.refuse_connection(knock("server", "server", "server-1")) or "")


@pytest.mark.parametrize(
    ("name", "what", "reason"),
    [
        ("car-1", say(FOREIGN), "not this user's topic"),
        ("car-1", say(topics.DESIRED.topic(id="car-1")), "not this user's topic"),
        ("car-1", say(topics.RELEASE_METADATA.topic()), "not this user's topic"),
        ("car-1", say(topics.BATCH.topic(id="car-1"), 161 * 1024), "limit"),
        ("car-1", say(topics.BATCH.topic(id="car-1"), retained=True), "retained"),
        ("car-1", say(OWN, qos=2), "quality"),
        ("car-1", say("$SYS/x"), "no topic"),
        ("gone", say(OWN), "unknown user"),
        ("anna", say(topics.COMMAND.topic(id="car-1", actor="bert")), "not this user's topic"),
    ],
)
def test_a_publish_is_refused_with_its_reason(name: str, what: Publish, reason: str) -> None:
    assert reason in (ACCESS.refuse_publish(name, what) or "")


def test_deleting_a_retained_message_is_a_publish_like_any_other() -> None:
    topic = topics.RELEASE_TARGET.topic(sha256="0" * 64, n=1)

    assert ACCESS.refuse_publish("server", say(topic, 0, retained=True)) is None
    assert ACCESS.refuse_publish("car-1", say(topic, 0, retained=True)) is not None


def test_subscriptions_follow_the_topic_table() -> None:
    assert ACCESS.may_subscribe("server", topics.BATCH.filter())
    assert ACCESS.may_subscribe("car-1", topics.RECEIPT.filter(id="car-1"))
    assert ACCESS.may_subscribe("car-1", topics.RELEASE_TARGET.filter(sha256="0" * 64))
    assert not ACCESS.may_subscribe("car-1", topics.RECEIPT.filter())
    assert not ACCESS.may_subscribe("car-1", topics.DESIRED.filter(id="car-2"))
    assert not ACCESS.may_subscribe("gone", topics.RELEASE_METADATA.topic())
    assert not ACCESS.may_subscribe("server", "#")
    assert not ACCESS.may_receive("car-1", FOREIGN)


def test_a_shared_subscription_is_refused_because_this_broker_would_never_serve_it() -> None:
    assert not ACCESS.may_subscribe("server", f"$share/ingest/{topics.BATCH.filter()}")


def test_a_user_changed_if_it_is_gone_or_has_another_secret() -> None:
    later = Access({"server": user("server"), "car-1": user("operator")})

    assert later.is_changed("anna", ACCESS)
    assert later.is_changed("car-1", ACCESS)
    assert not later.is_changed("server", ACCESS)
