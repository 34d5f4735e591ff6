"""A car's home folder: where each of its files lies.

Laws:
- nobody else builds these paths;
- the folder is its owner's alone (mode 0700), since it holds keys and pictures;
- before enrolment a car goes by the name in its settings, afterwards by the name it enrolled under.
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from device.settings import DeviceSettings, load_settings
from shared.errors import UsageError
from shared.ids import DeviceName, Name


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Under which name a car records, and where its samples are filed until the server speaks.

    It reads its two fields out of `enrolment.json` and passes over the rest.
    """

    device: DeviceName
    deployment: Name


@dataclass(frozen=True)
class Home:
    """The paths of one car's home folder."""

    root: Path

    @property
    def settings_file(self) -> Path:
        """The settings, `device.toml`; may be missing."""
        return self.root / "device.toml"

    @property
    def enrolment(self) -> Path:
        """What enrolment left behind; missing before it."""
        return self.root / "enrolment.json"

    @property
    def signing_key(self) -> Path:
        """The car's Ed25519 key."""
        return self.root / "keys" / "signing.key"

    @property
    def mqtt_secret(self) -> Path:
        """The car's password at the broker, 64 hexadecimal digits."""
        return self.root / "keys" / "mqtt.secret"

    @property
    def tuf_root(self) -> Path:
        """The trusted root of the release repository."""
        return self.root / "tuf" / "root.json"

    @property
    def tuf_metadata(self) -> Path:
        """The folder of python-tuf's verified metadata."""
        return self.root / "tuf" / "metadata"

    @property
    def models(self) -> Path:
        """The folder of verified models."""
        return self.root / "models"

    @property
    def journal(self) -> Path:
        """The journal."""
        return self.root / "journal.sqlite"

    @property
    def tally(self) -> Path:
        """How many pairs each boot was given to store (`device.tally`)."""
        return self.root / "pairs.tally"

    @property
    def drive_socket(self) -> Path:
        """Where drive listens for nudges and stops."""
        return self.root / "drive.sock"

    @property
    def agent_socket(self) -> Path:
        """Where agent listens for live values."""
        return self.root / "agent.sock"

    @property
    def known_time(self) -> Path:
        """The newest moment that agent could be sure of, in microseconds of UTC as text."""
        return self.root / "tuf" / "known_utc_us"

    @property
    def next_signing_key(self) -> Path:
        """The key that the server has not agreed to yet; missing unless keys are changed."""
        return self.root / "keys" / "next.signing.key"

    @property
    def next_mqtt_secret(self) -> Path:
        """The password that goes with it."""
        return self.root / "keys" / "next.mqtt.secret"

    @property
    def rotation_lock(self) -> Path:
        """Held while keys are changed."""
        return self.root / "rotation.lock"

    @property
    def broker_certificate(self) -> Path:
        """The car's certificate for a broker that asks for one; put there by hand."""
        return self.root / "keys" / "broker.crt"

    @property
    def broker_certificate_key(self) -> Path:
        """The key of that certificate."""
        return self.root / "keys" / "broker.key"

    @property
    def broker_ca(self) -> Path:
        """The broker's certificate authority; missing where it speaks no TLS."""
        return self.root / "broker-ca.pem"

    @property
    def operators(self) -> Path:
        """The operators' keys in force, as the server signed them; missing before the first."""
        return self.root / "operators.signed"

    @property
    def calibrations(self) -> Path:
        """The folder of numbered calibrations; missing before the first."""
        return self.root / "calibrations"

    @property
    def incoming(self) -> Path:
        """The folder of the model that is being fetched."""
        return self.root / "incoming"

    @property
    def connections(self) -> Path:
        """The first connection number that was never used, as text."""
        return self.root / "connections"

    @property
    def agent_lock(self) -> Path:
        """Held by the one agent of this home."""
        return self.root / "agent.lock"

    @property
    def drive_lock(self) -> Path:
        """Locked by the one process that drives: the models' folder, since a full disk has room for
        no lock file.
        """
        return self.models

    def model(self, sha256: str) -> Path:
        """Return where the model with that digest lies."""
        return self.models / f"{sha256}.tflite"

    def manifest(self, sha256: str) -> Path:
        """Return where the manifest of the model with that digest lies."""
        return self.models / f"{sha256}.json"

    def hardware(self, settings: DeviceSettings) -> Path | None:
        """Return the backend's own configuration file, None for the backend's defaults."""
        return self.root / settings.hardware if settings.hardware else None

    def create(self) -> None:
        """Create the folder and its `models` where they are missing.

        Raises:
            UsageError: a file is in the way, or the place is not ours to write.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.models.mkdir(exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot use {self.root} as a home folder: {error.strerror}") from None

    def settings(self) -> DeviceSettings:
        """Return the settings of this car.

        Raises:
            UsageError: the file or an environment variable is wrong.
        """
        return load_settings(self.settings_file if self.settings_file.exists() else None)

    def identity(self, settings: DeviceSettings) -> Identity:
        """Return the name to record under.

        Raises:
            UsageError: `enrolment.json` is unreadable.
        """
        if not self.enrolment.exists():
            return Identity(device=settings.name, deployment=settings.deployment)
        try:
            return msgspec.json.decode(self.enrolment.read_bytes(), type=Identity)
        except (OSError, msgspec.MsgspecError) as error:
            raise UsageError(f"cannot read {self.enrolment}: {error}; enrol again") from None
