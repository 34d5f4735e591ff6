"""How lists are asked for, page by page."""

from collections.abc import Sequence
from typing import Annotated, Protocol, TypeVar

from fastapi import Query

from fleet_server.reading.views import Page

MAX_LIMIT = 1000


class _Numbered(Protocol):
    @property
    def id(self) -> int: ...


V = TypeVar("V", bound=_Numbered)

Cursor = Annotated[
    int,
    Query(ge=0, le=2**63 - 1, description="`next_cursor` of the page before.", examples=[0]),
]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Most items on the page.")]


class _Received(_Numbered, Protocol):
    @property
    def received_utc_us(self) -> int: ...


R = TypeVar("R", bound=_Received)


def page_until(items: Sequence[R], limit: int, until_utc_us: int | None) -> Page[R]:
    """Return a page of what was received before a time, if any: there the list ends."""
    if until_utc_us is None or not items or items[-1].received_utc_us < until_utc_us:
        return page(items, limit)
    kept = tuple(each for each in items if each.received_utc_us < until_utc_us)
    return Page(items=kept, next_cursor=None)


def page(items: Sequence[V], limit: int) -> Page[V]:
    """Return `items`, of which `limit` were asked for, as a page."""
    following = str(items[-1].id) if len(items) == limit else None
    return Page(items=tuple(items), next_cursor=following)
