"""Records for the tests of this room."""

import msgspec

from shared.ids import sha256_hex
from shared.samples import Estimate, Latency, ManoeuvreEnd, Sample

BOOT = "00000001-0a0b0c0d"
JPEG = b"\xff\xd8 a picture"


def sample(sequence: int = 0, *, boot: str = BOOT, **changes: object) -> Sample:
    """Return a sample; `changes` are its other fields."""
    return msgspec.structs.replace(
        Sample(
            task="wall-distance",
            device="car-1",
            boot=boot,
            sequence=sequence,
            monotonic_us=1_000_000 + sequence,
            utc_us=1_700_000_000_000_000 + sequence,
            clock_synced=True,
            manoeuvre=1,
            source="sensor",
            deployment="beige",
            desired_revision=0,
            camera="rear",
            calibration="none",
            label=100.0,
            label_unit="mm",
            sensor_status="ok",
            skew_us=5_000,
            estimates=(Estimate(model="a" * 64, value=101.5, sigma=4.0),),
            characteristics=None,
            latency=Latency(frame_age_us=17_000, preprocess_us=50, inference_us=4_000),
            picture_sha256=sha256_hex(JPEG),
        ),
        **changes,
    )


def manoeuvre_end(manoeuvre: int = 1, *, boot: str = BOOT, pairs: int = 25) -> ManoeuvreEnd:
    """Return the end of a manoeuvre."""
    return ManoeuvreEnd(
        task="wall-distance",
        device="car-1",
        boot=boot,
        manoeuvre=manoeuvre,
        deployment="beige",
        source="sensor",
        started_utc_us=1_700_000_000_000_000,
        ended_utc_us=1_700_000_006_000_000,
        clock_synced=True,
        pairs=pairs,
        reason="target",
        stop_label=40.0,
        stop_estimate=None,
    )
