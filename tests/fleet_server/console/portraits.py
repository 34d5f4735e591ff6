"""Pictures of every page for the documentation: `python -m tests.fleet_server.console.portraits`.

The pages show a history that came in through real ingest, REST and control, with manoeuvres of the
real renderer; each is taken light, dark and as wide as a phone. Look at them before they go out.
"""

import io
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from selenium import webdriver

from fleet_server import logbook
from fleet_server.cars import membership
from fleet_server.cars.twin import Twin
from fleet_server.releases.setup import initialise
from fleet_server.storage.tables import devices
from fleet_server.training import jobs
from hardware_sim import scene as scenes
from hardware_sim.fleet_sim import reels
from hardware_sim.fleet_sim.reels import Log
from shared import codec
from shared.clock import SystemClock
from shared.ids import sha256_hex
from shared.messages import Batch, Presence, UpdateEvent
from shared.samples import Estimate, Picture
from shared.signing import SigningKey
from shared.task import WALL_DISTANCE
from shared.topics import PRESENCE, UPDATE
from tests.fleet_server.console import conftest, served
from tests.fleet_server.console.served import Filled
from tests.fleet_server.console.test_page import look, sign_in, visit
from tests.fleet_server.fleet import BOOT, START_US, Fleet, VirtualClock

FOLDER = Path(__file__).parents[3] / "docs" / "images"
DESK, PHONE = 1180, 390
TALLEST = {DESK: 1300, PHONE: 1500}
COLOURS = 48
_DRAWN_S = 0.3

NAMES = {
    "fleet": "",
    "car": "cars/hall-1",
    "samples": "samples",
    "sample": "samples/hall-1/" + BOOT + "/10105",
    "deployments": "deployments?left=garage&right=hall",
    "drift": "drift",
    "models": "models",
    "model": "models/{model}",
    "rollouts": "rollouts",
    "training": "training",
    "log": "log",
    "system": "system",
    "sign-in": "sign-in",
}


def enrich(filled: Filled, clock: VirtualClock) -> None:
    """Add a second deployment whose cars see rendered scenes, a trial and a running job."""
    fleet = Fleet(filled.state, clock, SigningKey(served.SERVER_KEY))
    with fleet.database.write() as connection:
        membership.create_deployment(
            connection,
            name="hall",
            task=WALL_DISTANCE,
            actor="anna",
            reason="the red floor of hall 3",
            utc_us=clock.utc_us(),
        )
    for number, scene in ((1, "red"), (2, "patterned")):
        _drive(fleet, f"hall-{number}", scene, filled.models[0])
    fleet.keys["car-1"] = SigningKey(b"car-1".ljust(32, b"."))
    _film(fleet, "car-1", "garage", "beige", filled.models[-1])
    _try(fleet, filled.models[-1])
    _train(fleet)
    fleet.close()


def _drive(fleet: Fleet, car: str, scene: str, model: str) -> None:
    fleet.add_car(car)
    with fleet.database.write() as connection:
        connection.execute(devices.update().where(devices.c.name == car).values(deployment="hall"))
    _film(fleet, car, "hall", scene, model)
    said = Presence(device=car, boot=BOOT, connection=1, online=True)
    Twin(fleet.database, fleet.clock).take(PRESENCE, car, codec.encode(said))


def _film(fleet: Fleet, car: str, deployment: str, scene: str, model: str) -> None:
    random = np.random.default_rng(len(car) + ord(car[-1]))

    def answer(label: float) -> tuple[Estimate, ...]:
        guess = round(label + float(random.normal(0.0, 3.0)), 1)
        return (Estimate(model=model, value=guess, sigma=3.0),)

    for number, reel in enumerate(reels.render(scenes.load(scene), count=6, seed=ord(car[-1]))):
        log = Log(
            device=car,
            deployment=deployment,
            desired_revision=1,
            boot=BOOT,
            manoeuvre=100 + number,
            first_sequence=10_000 + number * 100,
            started_us=START_US,
            answer=answer,
        )
        pairs, end = reels.pairs(reel, log)
        fleet.send(
            Batch(
                device=car,
                samples=tuple(sample for sample, _ in pairs),
                manoeuvres=(end,),
                pictures=tuple(
                    Picture(
                        device=car,
                        boot=BOOT,
                        sequence=sample.sequence,
                        sha256=sha256_hex(jpeg),
                        jpeg=jpeg,
                    )
                    for sample, jpeg in pairs
                    if jpeg is not None
                ),
            )
        )
        fleet.clock.now_us += 30_000_000


def _try(fleet: Fleet, model: str) -> None:
    for number in range(1, 13):
        step = UpdateEvent(
            device="hall-1",
            boot=BOOT,
            utc_us=START_US,
            number=number,
            target=f"wall-distance/hall/{model}.tflite",
            model=model,
            state="shadowing",
            reason="beside the model in service",
            evidence={
                "manoeuvres": float(number),
                "error_in_service": 6.2,
                "error_of_candidate": 4.1,
                "evidence": 1.28**number,
                "evidence_against": 0.9**number,
                "gate": 20.0,
            },
        )
        Twin(fleet.database, fleet.clock).take(UPDATE, "hall-1", codec.encode(step))


def _train(fleet: Fleet) -> None:
    now = fleet.clock.utc_us()
    why = "the floor of hall 3 was painted"
    with fleet.database.write() as connection:
        decision = logbook.write(
            connection,
            utc_us=now,
            deployment="hall",
            kind="train-by-hand",
            reason=why,
            actor="anna",
        )
        number = jobs.open_job(
            connection,
            deployment="hall",
            reason=why,
            decision=decision,
            verdict=None,
            utc_us=now,
            trials=12,
        )
        jobs.claim(connection, worker="trainer-1", utc_us=now, lease_us=10**9, most=3)
        jobs.progress(
            connection,
            number,
            stage="fit",
            fraction=0.42,
            message="epoch 17: error 4.6 mm",
            attempt=None,
            utc_us=now,
            lease_us=10**9,
        )


@contextmanager
def _made() -> Iterator[Filled]:
    with tempfile.TemporaryDirectory() as folder:
        releases, state = Path(folder) / "releases", Path(folder) / "state"
        state.mkdir()
        initialise(
            owner_dir=releases / "owner",
            server_state=releases / "server",
            trainer_dir=releases / "trainer",
            trainer_name="trainer-1",
            task=WALL_DISTANCE.name,
            clock=VirtualClock(SystemClock().utc_us()),
        )
        filled = served.fill(state, releases)
        enrich(filled, VirtualClock(SystemClock().utc_us() - 1_200_000_000))
        yield filled


def chrome_is_done(browser: webdriver.Chrome) -> bool:
    """Tell whether all pictures that can be seen are there."""
    return bool(
        browser.execute_script(
            "return [...document.images].every((each) => each.complete ||"
            " each.getBoundingClientRect().top > innerHeight)"
        )
    )


def take(browser: webdriver.Chrome, name: str, scheme: str, width: int) -> None:
    """Take a picture of the page that is open, as it is, no taller than `TALLEST`."""
    look(browser, scheme, width)
    whole = browser.execute_script("return document.documentElement.scrollHeight")
    height = min(int(whole), TALLEST[width])
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < DESK},
    )
    time.sleep(_DRAWN_S)
    conftest.wait_until(lambda: chrome_is_done(browser))
    picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    kind = "" if (scheme, width) == ("light", DESK) else "-phone" if width < DESK else f"-{scheme}"
    small = picture.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small.save(FOLDER / f"console-{name}{kind}.png", optimize=True)


def main() -> None:
    """Make all pictures anew."""
    only = set(sys.argv[1:]) or set(NAMES)
    with (
        _made() as filled,
        conftest.serving(filled.state) as url,
        conftest.open_browser() as chrome,
    ):
        sign_in(chrome, url, filled, "operator")
        for name, path in NAMES.items():
            if name not in only:
                continue
            look(chrome, "light", DESK)
            visit(chrome, url, path.format(model=filled.models[-1]))
            for scheme, width in (("light", DESK), ("dark", DESK), ("light", PHONE)):
                take(chrome, name, scheme, width)


if __name__ == "__main__":
    main()
