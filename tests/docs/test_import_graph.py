"""What a car carries into its memory, seen in a fresh process."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

# Training, server, and what only they use.
HEAVY = {
    *("tensorflow", "keras", "mlflow", "fastapi", "starlette", "uvicorn", "sqlalchemy", "alembic"),
    *("nicegui", "amqtt", "httpx2", "matplotlib", "fleet_server", "trainer", "hardware_sim"),
}
# What speaks to a network, and the half of the car that does.
NETWORK = {"paho", "tuf", "urllib3", "requests", "device.agent", "shared.mqtt"}

WALK = """
import importlib, pkgutil, sys
for name in {packages!r}:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(getattr(package, "__path__", ()), name + "."):
        importlib.import_module(module.name)
{more}
print(*sys.modules)
"""


def loaded(*packages: str, more: str = "") -> set[str]:
    """Return all modules of a fresh process that imports every module of `packages`."""
    done = subprocess.run(
        [sys.executable, "-c", WALK.format(packages=packages, more=more)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stdout.splitlines()[-1].split())


def test_driving_carries_neither_server_nor_training_nor_any_network() -> None:
    modules = loaded("device.drive")
    assert "device.drive" in modules
    assert not modules & (HEAVY | NETWORK)


def test_the_agent_carries_neither_server_nor_training() -> None:
    modules = loaded("device.agent")
    assert "paho.mqtt.client" in modules
    assert not modules & HEAVY


@pytest.mark.parametrize("verb", ["device", "sim"])
def test_a_cars_commands_load_no_server(verb: str) -> None:
    show_help = f"from shared import cli; assert cli.run([{verb!r}, '--help']) == 0"
    heavy = HEAVY - {"hardware_sim"} if verb == "sim" else HEAVY
    assert not loaded("shared", more=show_help) & heavy


def test_the_contract_is_light() -> None:
    assert not loaded("shared") & (HEAVY | {"device", "sqlite_utils", "gpiozero"})
