"""A fleet over a model server in memory.

Laws:
- nothing of it outlives it: keys and homes lie in a folder that is removed;
- time jumps from event to event, as fast as the machine computes;
- the same plan gives the same fleet: chance comes from its seed alone.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from device.agent.enrolment import Enrolment
from device.home import Home
from hardware_sim.fleet_sim import releases, run
from hardware_sim.fleet_sim.car import Car, Identity
from hardware_sim.fleet_sim.fleets import DEPLOYMENT, Plan, Prober, Report, Watch, drive, fork
from hardware_sim.fleet_sim.links import MemoryLink
from hardware_sim.fleet_sim.releases import Release
from hardware_sim.fleet_sim.run import Stored
from hardware_sim.fleet_sim.server import ModelServer
from hardware_sim.replay import TapeClock
from shared.clock import Clock
from shared.errors import RefusedError, UsageError
from shared.ids import sha256_hex
from shared.manifest import Manifest
from shared.signing import SigningKey
from shared.task import WALL_DISTANCE


def in_memory(plan: Plan, *, real: Clock, model: Path | None, watch: Watch) -> Report:
    """Run a fleet over a model server; `model` (manifest.json beside it) is rolled out half-way.

    Raises:
        UsageError: the model or its manifest cannot be read.
    """
    clock = TapeClock(real, speed=0.0)
    release = _release(model, clock) if model else None
    server = ModelServer(SigningKey.generate(), release.deployment if release else DEPLOYMENT)
    half_us = clock.monotonic_us() + round(plan.for_s * 5e5)

    def tell(manoeuvres: int) -> None:
        if release is not None and not server.has_release and clock.monotonic_us() >= half_us:
            server.release(release.metadata, release.pieces, target=release.target)
        watch.tell(manoeuvres)

    with TemporaryDirectory(prefix="parkfleet-fleet-") as folder:
        rng = random.Random(plan.seed)  # noqa: S311 - loss and jitter, guards nothing
        prober = Prober(real)
        cars = [
            Car(
                who,
                link=MemoryLink(server, who.enrolment.device, fork(rng), loss=plan.loss),
                clock=clock,
                rng=fork(rng),
                probe=prober,
            )
            for who in _strangers(plan.cars, Path(folder), server, release)
        ]
        virtual_s, real_s = drive(plan, cars, clock, real, Watch(stop=watch.stop, tell=tell))
        run.collect(cars, clock=clock, stop=watch.stop)
        stored = {
            name: Stored(pairs=len(ledger.samples), doubled=ledger.doubled)
            for name, ledger in server.ledgers.items()
        }
        outcome = run.account(cars, stored, virtual_s=virtual_s, real_s=real_s)
    loaded = sum(
        ledger.status is not None and ledger.status.loaded is not None
        for ledger in server.ledgers.values()
    )
    return Report(outcome=outcome, server={**server.counts, "models_loaded": loaded})


def _strangers(
    count: int, folder: Path, server: ModelServer, release: Release | None
) -> Iterator[Identity]:
    """Yield new cars of a fleet in memory, as enrolment would leave them behind."""
    for number in range(1, count + 1):
        home, key = Home(folder / f"{number:05d}"), SigningKey.generate()
        enrolment = Enrolment(
            device=f"sim-{number:05d}",
            deployment=server.deployment,
            task=WALL_DISTANCE,
            server_url="http://127.0.0.1",
            server_public_key=server.public.raw.hex(),
            broker_host="127.0.0.1",
            broker_port=1,
        )
        home.create()
        if release is not None:
            home.tuf_root.parent.mkdir()
            home.tuf_root.write_bytes(release.root)
        server.enrol(enrolment.device, key.public)
        yield Identity(home=home, enrolment=enrolment, key=key)


def _release(model: Path, clock: Clock) -> Release:
    try:
        data = model.read_bytes()
        manifest = Manifest.from_json(model.with_name("manifest.json").read_bytes())
    except OSError as error:
        raise UsageError(
            f"cannot read {error.filename}: {error.strerror}; "
            "give a model with its manifest.json beside it"
        ) from None
    except RefusedError as error:
        raise UsageError(f"{model.with_name('manifest.json')}: {error}") from None
    if manifest.sha256 != sha256_hex(data):
        raise UsageError(f"{model.with_name('manifest.json')} describes another file than {model}")
    # A car keeps to release numbers from 1 on.
    numbered = msgspec.structs.replace(manifest, release_seq=max(1, manifest.release_seq))
    return releases.make(data, numbered, utc_us=clock.utc_us())
