"""The rights of every role on every topic, spelt out, and the tricks that must not widen them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import topics
from shared.topics import TABLE, Role, Topic, may_publish, may_subscribe

DIGEST = "0" * 64
PARTS: dict[str, str | int] = {"id": "car-1", "actor": "alex", "sha256": DIGEST, "n": 3}
USERS: dict[Role, str] = {
    "device": "car-1",
    "server": "server",
    "operator": "alex",
    "viewer": "vera",
}
WATCHERS: set[Role] = {"server", "operator", "viewer"}

# Who publishes and who listens, as the contract has it; read with the table of ARCHITECTURE.md.
RIGHTS: dict[str, tuple[set[Role], set[Role]]] = {
    "presence": ({"device"}, WATCHERS),
    "status": ({"device"}, WATCHERS),
    "telemetry": ({"device"}, WATCHERS),
    "batch": ({"device"}, {"server"}),
    "receipt": ({"server"}, {"device"}),
    "desired": ({"server"}, {"device", "operator", "viewer"}),
    "command": ({"server", "operator"}, {"device", "server"}),
    "result": ({"device"}, WATCHERS),
    "update": ({"device"}, WATCHERS),
    "operators": ({"server"}, {"device", *WATCHERS}),
    "release_metadata": ({"server"}, {"device", *WATCHERS}),
    "release_target": ({"server"}, {"device", *WATCHERS}),
}
OF_A_CAR = [row for row in TABLE if "{id}" in row.pattern]

every_row = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
every_role = pytest.mark.parametrize("role", list(USERS))


def test_the_rights_below_speak_of_every_topic() -> None:
    assert set(RIGHTS) == {row.name for row in TABLE}


@every_row
@every_role
def test_a_role_publishes_where_the_contract_says_and_nowhere_else(row: Topic, role: Role) -> None:
    assert may_publish(role, USERS[role], row.topic(**PARTS)) == (role in RIGHTS[row.name][0])


@every_row
@every_role
def test_a_role_listens_where_the_contract_says_and_nowhere_else(row: Topic, role: Role) -> None:
    assert may_subscribe(role, USERS[role], row.topic(**PARTS)) == (role in RIGHTS[row.name][1])


@pytest.mark.parametrize("row", OF_A_CAR, ids=lambda row: row.name)
def test_a_car_neither_speaks_nor_listens_for_another(row: Topic) -> None:
    foreign = row.topic(**{**PARTS, "id": "car-2"})
    assert not may_publish("device", "car-1", foreign)
    assert not may_subscribe("device", "car-1", foreign)
    assert not may_subscribe("device", "car-1", row.filter())
    assert not may_subscribe("device", "car-1", row.filter(**{**PARTS, "id": "+"}))


@every_row
@every_role
def test_the_server_and_consoles_may_listen_to_all_cars_at_once(row: Topic, role: Role) -> None:
    allowed = role in RIGHTS[row.name][1] and (role != "device" or row not in OF_A_CAR)
    assert may_subscribe(role, USERS[role], row.filter()) == allowed


def test_an_operator_orders_in_its_own_name_only() -> None:
    assert may_publish("operator", "alex", topics.COMMAND.topic(id="car-1", actor="alex"))
    assert not may_publish("operator", "alex", topics.COMMAND.topic(id="car-1", actor="robin"))


TRICKS = [
    "#",
    "+",
    "+/+/device/+/presence",
    "fleet/#",
    "fleet/v1/#",
    "fleet/v1/device/#",
    "fleet/v1/device/car-1/#",
    "fleet/v1/device/car-1/+",
    "fleet/v1/device/+/+",
    "fleet/v1/+/car-1/desired",
    "fleet/v1/device/car-1/desired/#",
    "fleet/v1/device/car-1/desired/",
    "/fleet/v1/device/car-1/desired",
    "fleet/v1/device/car-1//desired",
    "fleet/v1/device//desired",
    "fleet/v2/device/car-1/desired",
    "fleet/v1/releases/+",
    "fleet/v1/releases/target/+",
    "fleet/v1/device/car-1/desired\n",
    "fleet/v1/device/car-1\x00/desired",
    "",
    "$SYS/#",
    "$SYS/broker/clients/connected",
    "$share/a/$SYS/#",
    "$share/#",
    "$share/a/#",
    "$share",
    "$share/",
    "$share//fleet/v1/device/+/batch",
    "$share/a/$share/b/fleet/v1/device/+/batch",
    "$queue/fleet/v1/device/+/batch",
    "$share/+/fleet/v1/device/+/batch",
]


@pytest.mark.parametrize("trick", TRICKS)
@every_role
def test_no_trick_widens_a_right(role: Role, trick: str) -> None:
    assert not may_subscribe(role, USERS[role], trick)
    assert not may_publish(role, USERS[role], trick)


@every_row
@every_role
def test_only_the_servers_batches_are_shared(row: Topic, role: Role) -> None:
    for wanted in (row.filter(), row.topic(**PARTS)):
        allowed = role == "server" and wanted == topics.BATCH.filter()
        assert may_subscribe(role, USERS[role], f"$share/ingest/{wanted}") == allowed


@pytest.mark.parametrize("user", ["+", "#", "", "car-1/desired", "CAR-1", "car-1\n"])
def test_a_user_whose_name_is_syntax_has_no_rights_as_a_car(user: str) -> None:
    for row in TABLE:
        wanted = row.pattern.replace("{id}", user).replace("{actor}", "alex")
        topic = f"{topics.ROOT}/{wanted}".replace("{sha256}", DIGEST).replace("{n}", "3")
        assert not may_publish("device", user, topic)
        assert not may_subscribe("device", user, topic)


LITERALS = ["fleet", "v1", "device", "desired", "batch", "command", "result", "releases", "meta"]
OTHERS = ["car-1", "car-2", "alex", "target", "receipt", "+", "#", "$share", "x", ""]
segments = st.sampled_from(LITERALS) | st.sampled_from(OTHERS)


def matches(topic_filter: str, topic: str) -> bool:
    """MQTT 3.1.1, 4.7: whether a filter matches a topic; written apart from the code under test."""
    wanted, held = topic_filter.split("/"), topic.split("/")
    for at, part in enumerate(wanted):
        if part == "#":
            return True
        if at >= len(held) or part not in ("+", held[at]):
            return False
    return len(wanted) == len(held)


@given(parts=st.lists(segments, min_size=1, max_size=8))
def test_what_a_car_may_listen_to_never_matches_what_is_meant_for_another(parts: list[str]) -> None:
    topic_filter = "/".join(parts)
    if may_subscribe("device", "car-1", topic_filter):
        for row in OF_A_CAR:
            assert not matches(topic_filter, row.topic(**{**PARTS, "id": "car-2"}))


@given(parts=st.lists(segments, min_size=1, max_size=8))
def test_what_a_role_may_listen_to_matches_only_what_its_role_hears(parts: list[str]) -> None:
    topic_filter = "/".join(parts)
    for role, user in USERS.items():
        if may_subscribe(role, user, topic_filter):
            for row in TABLE:
                if role not in row.subscribers:
                    assert not matches(topic_filter, row.topic(**PARTS))


@every_row
def test_a_topic_is_read_back_into_its_parts(row: Topic) -> None:
    found = topics.match(row.topic(**PARTS))
    assert found is not None
    named, parts = found
    assert named is row
    assert parts == {name: str(PARTS[name]) for name in parts}
    assert row.filter(**PARTS) == row.topic(**PARTS)
    assert matches(row.filter(), row.topic(**PARTS))


def test_a_topic_needs_all_of_its_parts() -> None:
    with pytest.raises(KeyError):
        topics.PRESENCE.topic()


@given(text=st.text(max_size=60))
def test_any_text_is_a_topic_of_the_table_or_none(text: str) -> None:
    for topic in (text, f"{topics.ROOT}/{text}", f"{topics.ROOT}/device/{text}"):
        found = topics.match(topic)
        if found is not None:
            row, parts = found
            assert row.topic(**parts) == topic


def test_telemetry_alone_may_be_lost_and_state_alone_is_retained() -> None:
    assert {row.name for row in TABLE if row.qos == 0} == {"telemetry"}
    assert {row.name for row in TABLE if row.retained} == {
        *("presence", "status", "desired", "operators", "release_metadata", "release_target")
    }
