"""What people write to stored pairs.

Laws:
- a pair's record is never changed: what is written to it stands beside it, with its author;
- a pair that somebody called a bad picture or wrongly labelled is learned by no training that is
  asked for after that (`storage.trust`); a note changes nothing.
"""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select

from fleet_server.storage.database import Database
from fleet_server.storage.pages import page, views
from fleet_server.storage.report_tables import annotations
from fleet_server.storage.upsert import insert
from shared.ids import SampleKey

Kind = Literal["note", "wrong-label", "bad-picture"]


@dataclass(frozen=True, kw_only=True)
class AnnotationView:
    """What somebody wrote; `label` is what it should have been, in the task's unit."""

    id: int
    device: str
    boot: str
    sequence: int
    utc_us: int
    author: str
    kind: str
    text: str
    label: float | None


def write(
    database: Database,
    key: SampleKey,
    *,
    author: str,
    kind: Kind,
    text: str,
    label: float | None,
    utc_us: int,
) -> AnnotationView:
    """Keep what `author` wrote to the pair `key`."""
    with database.write() as connection:
        row = connection.execute(
            insert(connection, annotations)
            .values(
                device=key.device,
                boot=key.boot,
                sequence=key.sequence,
                utc_us=utc_us,
                author=author,
                kind=kind,
                text=text,
                label=label,
            )
            .returning(annotations)
        ).one()
    made: AnnotationView = views(AnnotationView, [row])[0]
    return made


def listed(
    database: Database, key: SampleKey, *, after: int = 0, limit: int = 100
) -> tuple[AnnotationView, ...]:
    """Return what was written to the pair `key`, by row id."""
    query = select(annotations).where(
        annotations.c.device == key.device,
        annotations.c.boot == key.boot,
        annotations.c.sequence == key.sequence,
    )
    with database.read() as connection:
        return views(AnnotationView, page(connection, query, annotations, after, limit))
