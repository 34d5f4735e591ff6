"""Verdicts that are over: one place that ends them, and what was held against their cars' labels.

Laws:
- what was stored while a verdict about the sensor stood stays untrusted; what comes after is
  trusted again (`storage.trust`);
- a verdict is about a car in a deployment: whoever moves the car ends it.
"""

import logging
from typing import Any

from sqlalchemy import Connection, update

from fleet_server.storage import trust
from fleet_server.storage.drift_tables import verdicts

logger = logging.getLogger(__name__)


def clear(connection: Connection, reason: str, *where: Any, utc_us: int) -> None:
    """End the open verdicts for which all of `where`, conditions on `verdicts`, hold."""
    cleared = connection.scalars(
        update(verdicts)
        .where(verdicts.c.cleared_utc_us.is_(None), *where)
        .values(cleared_utc_us=utc_us, cleared_reason=reason)
        .returning(verdicts.c.id)
    ).all()
    if cleared:
        trust.end(connection, list(cleared))
        logger.info("verdicts_cleared ids=%s reason=%r", list(cleared), reason)
