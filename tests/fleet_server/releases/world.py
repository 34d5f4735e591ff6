"""A release owner, a server, a trainer and a car in one folder and virtual time, for the tests."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata, TargetFile, Targets
from tuf.ngclient import FetcherInterface, Updater

from fleet_server.releases import metadata
from fleet_server.releases.keys import load_signer
from fleet_server.releases.online import OnlineRepository
from fleet_server.releases.setup import initialise
from fleet_server.releases.store import FolderStore
from shared.clock import SystemClock
from shared.ids import sha256_hex
from shared.manifest import Manifest, Tensor
from shared.releases import TARGETS_VALID, target_path, to_custom
from shared.task import WALL_DISTANCE

DAY_US = 86_400 * 1_000_000


@dataclass
class SettableClock:
    """A clock that stands where it was put."""

    now_us: int

    def monotonic_us(self) -> int:
        return self.now_us

    def utc_us(self) -> int:
        return self.now_us

    def is_synced(self) -> bool:
        return True

    def sleep_until_us(self, monotonic_us: int) -> None:
        self.now_us = max(self.now_us, monotonic_us)


class MemoryFetcher(FetcherInterface):
    """Answers a car's questions from what the server publishes, as the car's own fetcher does."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.rsplit("/", 1)[-1]
        if name not in self.files:
            raise DownloadHTTPError(name, 404)
        yield self.files[name]


class Killed(BaseException):
    """The process is gone: nothing of ours catches it."""


@dataclass
class DyingStore:
    """A store whose process is killed at the write numbered `dies_at` (0: the first)."""

    inner: FolderStore
    dies_at: int
    after_writing: bool
    written: list[str] = field(default_factory=list)

    def read(self, name: str) -> bytes | None:
        return self.inner.read(name)

    def names(self, folder: str) -> list[str]:
        return self.inner.names(folder)

    def lock(self) -> AbstractContextManager[None]:
        return self.inner.lock()

    def write(self, name: str, data: bytes) -> None:
        dies = len(self.written) == self.dies_at
        if dies and not self.after_writing:
            # What a kill in the middle of a write leaves: a part of the temporary file.
            path = self.inner.folder / (name + ".new")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data[: len(data) // 2])
            raise Killed
        self.inner.write(name, data)
        self.written.append(name)
        if dies:
            raise Killed


def manifest(
    model: bytes, release_seq: int, *, deployment: str = "garage", **changes: Any
) -> Manifest:
    tensor = Tensor(name="value", shape=(1, 1), dtype="int8", scale=0.004, zero_point=-128)
    fields: dict[str, Any] = {
        "sha256": sha256_hex(model),
        "size_bytes": len(model),
        "task": WALL_DISTANCE,
        "deployment": deployment,
        "release_seq": release_seq,
        "input": tensor,
        "value": tensor,
        "log_sigma": tensor,
        "preprocessing": "rgb-area-v1",
        "metrics": {"test_mae": 4.0},
        "run_id": "run-1",
        "dataset_sha256": "0" * 64,
        "minimum_device": "0.1.0",
        "created_utc_us": 1,
        "trainer": "trainer-1",
    }
    return Manifest(**{**fields, **changes})


def target(model: bytes, described: Manifest, *, path: str | None = None) -> TargetFile:
    place = path or target_path(described.task.name, described.deployment, described.sha256)
    made = TargetFile.from_data(place, model, ["sha256"])
    made.unrecognized_fields["custom"] = to_custom(described, model)
    return made


class World:
    """Owner, server and trainer with an initialised repository."""

    def __init__(self, folder: Path, *, days_ago: float = 0.0) -> None:
        self.folder = folder
        # python-tuf's client judges expiry by the real clock, so virtual time starts near it.
        self.clock = SettableClock(SystemClock().utc_us() - int(days_ago * DAY_US))
        self.state = folder / "server"
        initialise(
            owner_dir=folder / "owner",
            server_state=self.state,
            trainer_dir=folder / "trainer",
            trainer_name="trainer-1",
            task="wall-distance",
            clock=self.clock,
        )
        self.repository = OnlineRepository.open(self.state, self.clock)
        self.bootstrap = self.repository.root()

    def trainer(self) -> CryptoSigner:
        return load_signer(self.folder / "trainer" / "keys" / "release.key")

    def current_role(self) -> Targets:
        """The trainer's metadata in force."""
        newest = max(
            (name for name in self.repository.metadata_files() if name.endswith("trainer-1.json")),
            key=lambda name: int(name.split(".")[0]),
        )
        read: Metadata[Targets] = metadata.read(Targets, self.repository.metadata_files()[newest])
        return read.signed

    def proposal(self, *added: TargetFile) -> Targets:
        """Version n+1 of the trainer's metadata with `added` targets."""
        last = self.current_role()
        return Targets(
            version=last.version + 1,
            expires=metadata.moment(self.clock.now_us) + TARGETS_VALID,
            targets={**last.targets, **{each.path: each for each in added}},
        )

    def release(self, model: bytes, release_seq: int, *, deployment: str = "garage") -> str:
        """Release `model` as the trainer does; return its path."""
        new = target(model, manifest(model, release_seq, deployment=deployment))
        signed = metadata.sign(self.proposal(new), self.trainer())
        self.repository.accept(role="trainer-1", role_metadata=signed, model=model)
        return new.path

    def car(self, name: str = "car", published: dict[str, bytes] | None = None) -> Updater:
        """A car's python-tuf client, on what the server publishes now, or on `published`."""
        place = self.folder / name
        place.mkdir(exist_ok=True)
        return Updater(
            str(place),
            "mqtt://releases/",
            fetcher=MemoryFetcher(published or self.repository.metadata_files()),
            bootstrap=self.bootstrap,
        )
