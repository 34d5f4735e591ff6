"""Counts the silences of connected cars: a step of the control loop.

Laws:
- a heartbeat is any report of the car; what the broker says of its connection is none;
- a silence is counted once, when it begins, and ends with the next report (`twin`).
"""

import logging

from sqlalchemy import Connection, select, update

from fleet_server.cars import registry
from fleet_server.storage.database import Change
from fleet_server.storage.tables import devices

logger = logging.getLogger(__name__)


def listen(
    connection: Connection, deployment: str, now_utc_us: int, after_us: int
) -> Change | None:
    """Count the silences that have begun among a deployment's cars."""
    cars = connection.execute(
        select(
            devices.c.id,
            devices.c.name,
            devices.c.online,
            devices.c.silent_since_utc_us,
            devices.c.last_seen_utc_us,
        ).where(
            devices.c.deployment == deployment,
            devices.c.online,
            devices.c.silent_since_utc_us.is_(None),
            devices.c.last_seen_utc_us < now_utc_us - after_us,
        )
    ).all()
    silent = [
        car
        for car in cars
        if registry.falls_silent(
            online=car.online,
            is_silent=car.silent_since_utc_us is not None,
            last_seen_utc_us=car.last_seen_utc_us,
            now_utc_us=now_utc_us,
            after_us=after_us,
        )
    ]
    if not silent:
        return None

    def count(writing: Connection) -> None:
        for car in silent:
            writing.execute(
                update(devices)
                .where(devices.c.id == car.id)
                .values(silences=devices.c.silences + 1, silent_since_utc_us=car.last_seen_utc_us)
            )
            logger.warning("car_silent device=%s since_utc_us=%d", car.name, car.last_seen_utc_us)

    return count
