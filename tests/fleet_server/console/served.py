"""A process of its own that serves the console over a real database: `served.py FILE PORT`.

`seed` fills such a database with two cars, one of them away and a version behind.
"""

import sys
from pathlib import Path

import msgspec
import uvicorn
from fastapi import FastAPI
from sqlalchemy import insert

from fleet_server.console import mount
from fleet_server.reading.queries import Queries
from fleet_server.storage import tables
from fleet_server.storage.database import Database
from fleet_server.storage.intake import Received, accept, store
from shared import codec
from shared.clock import SystemClock
from shared.ids import sha256_hex
from shared.messages import Batch
from shared.samples import Estimate, Latency, ManoeuvreEnd, Sample
from shared.signing import SigningKey
from shared.task import WALL_DISTANCE

BOOT = "00000001-0a0b0c0d"
V1, V2 = "1" * 64, "2" * 64
ERRORS_MM = {
    ("car-1", V1): (4.0, 21.0),
    ("car-1", V2): (5.0,),
    ("car-2", V1): (6.0, 24.0),
}


def seed(path: Path) -> None:
    """Create the database at `path`."""
    database = Database.open(path, SystemClock())
    now_us = SystemClock().utc_us()
    with database.write() as connection:
        connection.execute(
            insert(tables.deployments).values(
                name="garage",
                task=msgspec.json.encode(WALL_DISTANCE).decode(),
                latest_model=V2,
                created_utc_us=now_us,
            )
        )
        for version, digest in ((1, V1), (2, V2)):
            connection.execute(
                insert(tables.models).values(
                    sha256=digest,
                    deployment="garage",
                    version=version,
                    release_seq=version,
                    path=f"garage/{digest}.tflite",
                    manifest="{}",
                    registered_utc_us=now_us,
                    since_manoeuvre=0,
                )
            )
        for name, loaded in (("car-1", V2), ("car-2", V1)):
            connection.execute(
                insert(tables.devices).values(
                    name=name,
                    public_key=SigningKey.generate().public.raw,
                    deployment="garage",
                    enrolled_utc_us=now_us,
                    online=name == "car-1",
                    last_seen_utc_us=now_us,
                    loaded=loaded,
                )
            )
        connection.execute(
            insert(tables.decisions),
            [_decision("retrain", "error risen", None), _decision("promote", "newest", V2)],
        )
    drive(database, ERRORS_MM)
    database.close()


def drive(
    database: Database, errors: dict[tuple[str, str], tuple[float, ...]], first: int = 1
) -> None:
    """Store a manoeuvre of two samples for each error, numbered from `first` for each car."""
    numbers: dict[str, int] = {}
    for (device, model), values in errors.items():
        for error in values:
            number = numbers[device] = numbers.get(device, first - 1) + 1
            batch = Batch(
                device=device,
                samples=tuple(_sample(device, number, i, model, error) for i in range(2)),
                manoeuvres=(_end(device, number),),
            )
            body = codec.encode(batch)
            received = Received(
                device=device,
                topic="",
                body=body,
                sha256=sha256_hex(body),
                utc_us=SystemClock().utc_us(),
            )
            with database.write() as connection:
                store(connection, [accept(batch, received)])


def _decision(kind: str, reason: str, model: str | None) -> dict[str, object]:
    return {
        "utc_us": SystemClock().utc_us(),
        "deployment": "garage",
        "actor": "server",
        "kind": kind,
        "reason": reason,
        "evidence": "{}",
        "model": model,
    }


def _sample(device: str, manoeuvre: int, place: int, model: str, error: float) -> Sample:
    return Sample(
        task=WALL_DISTANCE.name,
        device=device,
        boot=BOOT,
        sequence=manoeuvre * 10 + place,
        monotonic_us=0,
        utc_us=0,
        clock_synced=True,
        manoeuvre=manoeuvre,
        source="model",
        deployment="garage",
        desired_revision=1,
        camera="camera",
        calibration="none",
        label=100.0,
        label_unit="mm",
        sensor_status="ok",
        skew_us=0,
        estimates=(Estimate(model=model, value=100.0 + error),),
        characteristics=None,
        latency=Latency(frame_age_us=0, preprocess_us=0, inference_us=0),
        picture_sha256=None,
    )


def _end(device: str, manoeuvre: int) -> ManoeuvreEnd:
    return ManoeuvreEnd(
        task=WALL_DISTANCE.name,
        device=device,
        boot=BOOT,
        manoeuvre=manoeuvre,
        deployment="garage",
        source="model",
        started_utc_us=0,
        ended_utc_us=0,
        clock_synced=True,
        pairs=2,
        reason="target",
        stop_label=40.0,
        stop_estimate=41.0,
    )


def main(path: str, port: str) -> None:
    """Serve until the process is ended."""
    app = FastAPI()
    mount(app, Queries(Database.open(Path(path), SystemClock())))
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
