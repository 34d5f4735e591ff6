"""What the server says is foreign: bounded, decoded or refused, and told apart by remedy."""

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import RefusedError, RetryLaterError, UsageError
from tests.trainer.server_double import TOKEN, ServerDouble
from trainer.worker.client import Job, JobLostError, Pair, Server


def _server(answer: httpx2.Response | Exception) -> Server:
    def reply(_: httpx2.Request) -> httpx2.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Server("http://server.test", TOKEN, transport=httpx2.MockTransport(reply))


def _job(pairs: list[Pair]) -> Job:
    double = ServerDouble(pairs=pairs, role=b"")
    job = Server("http://server.test", TOKEN, transport=double.transport()).claim("trainer-1")
    assert job is not None
    return job


def test_pairs_come_page_by_page_and_whole(pairs: list[Pair]) -> None:
    double = ServerDouble(pairs=pairs, role=b"", page=50)
    with Server("http://server.test", TOKEN, transport=double.transport()) as server:
        job = server.claim("trainer-1")
        assert job is not None
        received, cursor = [], None
        while True:
            page = server.pairs(job, cursor)
            received += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
        assert received == pairs
        assert server.claim("trainer-1") is None


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_busy_server_is_tried_again_later(status: int) -> None:
    with pytest.raises(RetryLaterError):
        _server(httpx2.Response(status, text="<html>")).claim("trainer-1")


def test_a_server_away_is_tried_again_later() -> None:
    with pytest.raises(RetryLaterError):
        _server(httpx2.ConnectError("refused")).claim("trainer-1")


def test_a_refused_token_says_how_to_get_one() -> None:
    with pytest.raises(UsageError, match="parkfleet token create --role trainer") as caught:
        _server(httpx2.Response(401, json={"title": "Unauthorized"})).claim("trainer-1")
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("status", [404, 409, 410])
def test_a_job_handed_on_is_lost(status: int, pairs: list[Pair]) -> None:
    server = _server(httpx2.Response(status, json={"title": "x", "detail": "handed on"}))
    with pytest.raises(JobLostError, match="handed on"):
        server.progress(_job(pairs), stage="fit", fraction=0.5, message="")


def test_a_refusal_is_in_the_servers_words(pairs: list[Pair]) -> None:
    server = _server(httpx2.Response(422, json={"title": "x", "detail": "no such label"}))
    with pytest.raises(RefusedError, match="no such label"):
        server.fail(_job(pairs), "reason")


@given(body=st.binary(max_size=200))
def test_any_answer_but_a_job_is_refused(body: bytes) -> None:
    with pytest.raises(RefusedError):
        _server(httpx2.Response(200, content=body)).claim("trainer-1")


def test_an_endless_answer_is_cut_off() -> None:
    with pytest.raises(RefusedError, match="longer than"):
        _server(httpx2.Response(200, content=b" " * 2_000_000)).claim("trainer-1")


@pytest.mark.parametrize("url", ["nonsense", "", "ftp://host", "http://"])
def test_an_address_that_is_none_is_named(url: str) -> None:
    with pytest.raises(UsageError, match="no server address"):
        Server(url, TOKEN)
