"""The page of training jobs."""

from fastapi import Request, Response
from nicegui import ui

from fleet_server.api.context import Context
from fleet_server.console.acts import Voice
from fleet_server.console.house import House
from fleet_server.console.nodes import Node
from fleet_server.console.sheets import training as sheet
from fleet_server.console.sheets.training import Job
from fleet_server.console.shell import open_page
from fleet_server.training import runs

_SHOWN = 30


def register(house: House) -> None:
    """Serve the page at `/training`."""

    @ui.page("/training")
    async def page(request: Request) -> Response | None:
        async def looked(voice: Voice) -> Node:
            held, names = await house.looks.at(
                "training",
                lambda _: (
                    read(house.context),
                    tuple(each.name for each in house.context.queries.deployments()),
                ),
            )
            return sheet.compose(held, names, voice)

        return await open_page(
            house,
            request,
            place="/training",
            title="Training",
            look=looked,
            acts=(sheet.TRAIN, sheet.CANCEL),
        )


def read(context: Context) -> tuple[Job, ...]:
    """Return the newest jobs, newest first, with what was handed in."""
    jobs = context.queries.training_jobs(limit=_SHOWN, newest=True)[::-1]
    with context.database.read() as connection:
        return tuple(
            Job(
                job=each,
                runs=runs.listed(connection, job=each.id, limit=_SHOWN),
                files=runs.files(connection, each.id),
            )
            for each in jobs
        )
