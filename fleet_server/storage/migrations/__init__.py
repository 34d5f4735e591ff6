"""The schema's history, one module a step; run by `fleet_server.storage.database`."""
