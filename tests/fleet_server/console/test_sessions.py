import pytest

from fleet_server import tokens
from fleet_server.console import sessions
from fleet_server.console.gate import target
from fleet_server.console.sessions import COOKIE, GUEST, Guests, Sessions, Visitor, may_be_guest
from fleet_server.tokens import Issued, Role
from shared.errors import RefusedError
from tests.fleet_server.fleet import START_US, Fleet

WHOLE_S = 12 * 3600.0
HOUR_US = 3_600_000_000
LOCAL = {"host": "localhost:8080"}


def issued(fleet: Fleet, role: Role = "operator") -> Issued:
    with fleet.database.write() as connection:
        return tokens.create(connection, name="anna", role=role, utc_us=START_US)


def open_sessions(fleet: Fleet, guests: Guests = "nobody") -> Sessions:
    return Sessions(fleet.database, fleet.clock, guests=guests, whole_s=WHOLE_S)


def signed_in(held: Sessions, secret: str) -> Visitor:
    cookie = held.sign_in(secret)
    visitor = held.visitor(peer="10.0.0.1", headers={}, cookies={COOKIE: cookie})
    assert visitor is not None
    return visitor


def test_who_signed_in_is_whom_the_token_stands_for(fleet: Fleet) -> None:
    held = open_sessions(fleet)
    visitor = signed_in(held, issued(fleet).secret)
    found = held.bearer(visitor)

    assert found is not None
    assert (found.name, found.role) == ("anna", "operator")


def test_a_revoked_token_counts_no_more_from_that_instant(fleet: Fleet) -> None:
    held, token = open_sessions(fleet), issued(fleet)
    visitor = signed_in(held, token.secret)
    with fleet.database.write() as connection:
        tokens.revoke(connection, token.id, utc_us=START_US)

    assert held.bearer(visitor) is None


def test_a_session_ends_when_signed_out_unused_or_old(fleet: Fleet) -> None:
    held, secret = open_sessions(fleet), issued(fleet).secret
    gone, unused, old = (signed_in(held, secret) for _ in range(3))
    held.sign_out(gone)

    assert held.bearer(gone) is None
    for _ in range(13):
        assert held.bearer(old) is not None
        fleet.clock.now_us += HOUR_US - 1_000_000
        held.touch(old)
    assert held.bearer(unused) is None
    assert held.bearer(old) is None


@pytest.mark.parametrize("role", ["trainer"])
def test_a_worker_needs_no_console(fleet: Fleet, role: Role) -> None:
    with pytest.raises(RefusedError, match="training worker"):
        open_sessions(fleet).sign_in(issued(fleet, role).secret)


def test_an_unknown_token_opens_nothing(fleet: Fleet) -> None:
    held = open_sessions(fleet)
    with pytest.raises(RefusedError, match="unknown or was revoked"):
        held.sign_in("pf_nonsense")

    assert held.visitor(peer="127.0.0.1", headers=LOCAL, cookies={COOKIE: "made up"}) is None


def test_of_too_many_sessions_the_one_unused_for_longest_ends(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MOST", 2)
    held, secret = open_sessions(fleet), issued(fleet).secret
    first = signed_in(held, secret)
    fleet.clock.now_us += 1
    second = signed_in(held, secret)
    fleet.clock.now_us += 1
    held.touch(first)
    signed_in(held, secret)

    assert held.bearer(first) is not None
    assert held.bearer(second) is None


def test_a_guest_is_a_viewer(fleet: Fleet) -> None:
    held = open_sessions(fleet, guests="loopback")
    visitor = held.visitor(peer="127.0.0.1", headers=LOCAL, cookies={})

    assert visitor is not None
    assert held.bearer(visitor) == GUEST
    assert GUEST.role == "viewer"


@pytest.mark.parametrize(
    ("guests", "peer", "headers", "may"),
    [
        ("loopback", "127.0.0.1", LOCAL, True),
        ("loopback", "::1", {"host": "[::1]:8080"}, True),
        ("loopback", "127.0.0.1", {"host": "127.0.0.1"}, True),
        ("loopback", "192.168.1.7", LOCAL, False),
        ("loopback", "127.0.0.1", {"host": "evil.example:8080"}, False),
        ("loopback", "127.0.0.1", {**LOCAL, "x-forwarded-for": "1.2.3.4"}, False),
        ("loopback", "127.0.0.1", {}, False),
        ("nobody", "127.0.0.1", LOCAL, False),
        ("everybody", "192.168.1.7", {"host": "fleet.example"}, True),
    ],
)
def test_a_guest_is_who_sits_at_this_machine(
    guests: Guests, peer: str, headers: dict[str, str], *, may: bool
) -> None:
    assert may_be_guest(guests, peer, headers) is may


@pytest.mark.parametrize(
    ("path", "follows"),
    [
        ("/log?q=a", "/log?q=a"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("/a\r\nSet-Cookie: x", "/"),
    ],
)
def test_signing_in_leads_to_a_page_of_this_server(path: str, follows: str) -> None:
    assert target(path) == follows
