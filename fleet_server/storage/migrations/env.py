"""Alembic's entry: runs the steps inside the transaction that it is handed.

Laws:
- a step and the record that it was done share one transaction.
"""

from alembic import context

from fleet_server.storage.columns import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
context.run_migrations()
