"""What an owner may set on a car: `device.toml`, overruled by PARKFLEET_DEVICE_... variables.

Laws:
- every setting has a default that drives;
- limits are stated here, once: what passes is usable everywhere.
"""

from pathlib import Path
from typing import Annotated

import msgspec

from device.wheel_control import Chassis
from shared import settings
from shared.ids import DeviceName, Name
from shared.messages import UploadLevel
from shared.samples import Source

_PREFIX = "PARKFLEET_DEVICE"

PairRate = Annotated[float, msgspec.Meta(gt=0, le=30)]
StopDistance = Annotated[float, msgspec.Meta(ge=25, le=200)]


class DeviceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A car's settings.

    `name` and `deployment` hold until the car is enrolled. `hardware` is the backend's own
    configuration file, relative to the home folder; empty means the backend's defaults.
    `source` is what `park` drives by, where a model is loaded. Pairs are logged `pair_hz` times
    a second during a manoeuvre, and the car stops `target_mm` before the wall (4 Hz as in the
    reference system). `upload` is the owner's consent, read as drive and agent start: each pair
    keeps the level that it was captured at, and a higher one later does not let it leave. The
    journal takes at most `journal_mb` megabytes and leaves `disk_spare_mb` of the disk free;
    beyond that it gives up pairs, those the server has first.
    """

    name: DeviceName = "car"
    deployment: Name = "default"
    backend: Name = "pi"
    hardware: str = ""
    source: Source = "model"
    pair_hz: PairRate = 4.0
    target_mm: StopDistance = 40.0
    upload: UploadLevel = "pictures"
    journal_mb: Annotated[int, msgspec.Meta(ge=8, le=1_000_000)] = 2048
    disk_spare_mb: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 256
    camera: Name = "rear"
    chassis: Chassis = Chassis()


def load_settings(path: Path | None) -> DeviceSettings:
    """Return the settings in `path` (None: defaults), overruled by the environment.

    Raises:
        UsageError: a key is unknown or a value is out of its limits.
    """
    return settings.load(DeviceSettings, path, prefix=_PREFIX)
