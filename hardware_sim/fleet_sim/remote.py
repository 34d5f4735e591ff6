"""A fleet at a real server: each car enrols, connects and syncs as any other.

Laws:
- a car keeps its home, and a fleet on a kept folder goes on with the same cars;
- time is paced: the broker lives in real time, and a car's patience in virtual time.
"""

import random
from collections.abc import Iterator
from pathlib import Path

from device.agent.enrol import enrol
from device.agent.enrolment import broker_address, load_enrolment, load_signing_key
from device.home import Home
from hardware_sim.fleet_sim import run
from hardware_sim.fleet_sim.car import Car, Identity
from hardware_sim.fleet_sim.fleets import Plan, Prober, Report, Watch, drive, fork
from hardware_sim.fleet_sim.links import BrokerLink
from hardware_sim.fleet_sim.run import Stored
from hardware_sim.lab.rest import Server
from hardware_sim.replay import TapeClock
from shared.clock import Clock


def at_server(
    plan: Plan,
    *,
    url: str,
    token: str,
    deployment: str,
    folder: Path,
    speed: float,
    real: Clock,
    watch: Watch,
) -> Report:
    """Run a fleet against the fleet server at `url`, `speed` virtual seconds in a real one.

    Raises:
        UsageError: a car cannot be enrolled or its home not be used.
        RefusedError: the server refuses the token.
        RetryLaterError: the server is away.
    """
    server = Server(url, token)
    try:
        everyone = list(enrolled(plan.cars, folder, server, deployment))
        clock = TapeClock(real, speed=speed)
        rng = random.Random(plan.seed)  # noqa: S311 - jitter, guards nothing
        prober = Prober(real)
        cars = [
            Car(
                who,
                link=BrokerLink(broker_address(who.home, who.enrolment)),
                clock=clock,
                rng=fork(rng),
                probe=prober,
            )
            for who in everyone
        ]
        virtual_s, real_s = drive(plan, cars, clock, real, watch)
        run.collect(cars, clock=clock, stop=watch.stop)
        stored = {
            item["device"]: Stored(pairs=item["pairs_stored"]) for item in server.all("devices")
        }
        outcome = run.account(cars, stored, virtual_s=virtual_s, real_s=real_s)
        return Report(outcome=outcome, server={})
    finally:
        server.close()


def enrolled(count: int, folder: Path, server: Server, deployment: str) -> Iterator[Identity]:
    """Yield the cars whose homes lie in `folder`, enrolled where they were not yet."""
    if deployment not in {item["name"] for item in server.all("deployments")}:
        server.post("deployments", {"name": deployment, "reason": "a simulated fleet"})
    for number in range(1, count + 1):
        name = f"sim-{number:05d}"
        home = Home(folder / name)
        if not home.enrolment.exists():
            wanted = {"device": name, "deployment": deployment, "reason": "a simulated car"}
            code = server.post("enrolments", wanted)["code"]
            enrol(home, server_url=server.url, code=code, device=name)
        key = load_signing_key(home)
        because = {"fingerprint": key.public.fingerprint, "reason": "a simulated car"}
        server.post(f"devices/{name}/confirm", because)  # changes nothing where it was done
        yield Identity(home=home, enrolment=load_enrolment(home), key=key)
