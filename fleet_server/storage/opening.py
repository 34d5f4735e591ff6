"""Which database and object store a server uses: two settings, chosen here and nowhere else."""

from pathlib import Path

from fleet_server.settings import ServerSettings
from fleet_server.storage.database import Database
from fleet_server.storage.objects import open_objects
from shared.clock import Clock

FILE = "server.sqlite"
"""The name of the database in a state folder, where the settings name no other."""


def open_database(state: Path, settings: ServerSettings, clock: Clock) -> Database:
    """Return the database of the server whose state folder is `state`, migrated.

    Raises:
        UsageError: database or object store cannot be reached, or the folder not be written.
    """
    objects = None if settings.objects is None else open_objects(settings.objects)
    if settings.database is not None:
        return Database.connect(settings.database, clock, objects)
    return Database.open(state / FILE, clock, objects, settings.database_cache_mib)
