"""The log book, searched from its end: what was decided by people and by the loop.

Laws:
- entries come newest first; `before` is the last id seen;
- what is foreign in a search is a text to be found, never a pattern;
- a search looks through at most `SCAN` entries a page, so that a page may hold fewer than were
  asked for and still name the next one.
"""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import func, or_, select

from fleet_server.reading.views import DecisionView
from fleet_server.storage.database import Database
from fleet_server.storage.pages import equal, judged
from fleet_server.storage.tables import decisions

SCAN = 20_000


@dataclass(frozen=True, kw_only=True)
class Entries:
    """A page, newest first; `next_before` asks for what came before, None where nothing did."""

    items: tuple[DecisionView, ...]
    next_before: int | None


def about(database: Database, verdicts: Collection[int]) -> tuple[DecisionView, ...]:
    """Return what was decided about some verdicts, oldest first."""
    query = select(decisions).where(decisions.c.verdict.in_(list(verdicts)))
    with database.read() as connection:
        return judged(DecisionView, connection.execute(query.order_by(decisions.c.id)).all())


def of_kinds(database: Database, kinds: Collection[str], *, limit: int) -> tuple[DecisionView, ...]:
    """Return the newest entries of some kinds, the newest first."""
    query = select(decisions).where(decisions.c.kind.in_(list(kinds)))
    newest = query.order_by(decisions.c.id.desc()).limit(limit)
    with database.read() as connection:
        return judged(DecisionView, connection.execute(newest).all())


def find(
    database: Database,
    *,
    text: str = "",
    deployment: str = "",
    before: int | None = None,
    limit: int = 50,
) -> Entries:
    """Return the newest entries before `before` whose reason, kind or actor holds `text`."""
    query = select(decisions).where(*equal(decisions, deployment=deployment or None))
    with database.read() as connection:
        newest = connection.scalar(select(func.max(decisions.c.id))) or 0
        top = newest if before is None else min(newest, before - 1)
        least = 1
        if text:
            least = max(1, top - SCAN + 1)
            columns = (decisions.c.reason, decisions.c.kind, decisions.c.actor)
            held = (func.lower(each).contains(text.lower(), autoescape=True) for each in columns)
            query = query.where(or_(*held))
        query = query.where(decisions.c.id.between(least, top))
        rows = connection.execute(query.order_by(decisions.c.id.desc()).limit(limit)).all()
    following = rows[-1].id if len(rows) == limit else least
    return Entries(
        items=judged(DecisionView, rows), next_before=following if following > 1 else None
    )
