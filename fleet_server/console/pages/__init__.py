"""The console's pages: what each reads and does; what it shows is its sheet's."""

from fleet_server.console.house import House
from fleet_server.console.pages import (
    car,
    deployments,
    drift,
    fleet,
    log,
    models,
    rollouts,
    samples,
    signing,
    system,
    training,
)


def register(house: House) -> None:
    """Serve all pages."""
    signing.register()
    for page in (fleet, car, samples, deployments, drift, models, rollouts, training, log, system):
        page.register(house)
