"""Parking: from what is seen to what the wheels should do, as one pure step.

Laws:
- the car only reverses, never faster than the speed law allows for the nearest distance it knows,
  and stands in every state but `reversing`;
- whatever is wrong while reversing ends in `fault` with its name; nothing resumes by itself;
- `stop` is obeyed in every state;
- the reference sensor below its minimum stops the car whatever drives it, and so it does where it
  sees the target passed and the model does not;
- model and sensor in contradiction slow the car at once, and stop it before either of them sees the
  wall near: as long as both see room there is room, and pictures that the model gets wrong are the
  ones to learn from;
- what has nothing to be compared with, a model without a reading or the sensor that the car drives
  by, stops the car where its wall wanders while the wheels turn;
- a manoeuvre that began ends exactly once, with a reason: "target", "stop" or the fault's name.

The states, and the events that lead on (any other leaves the state as it is):

    idle      --start--> armed
    armed     --ready--> reversing     (a distance to drive by is known)
    reversing --reached--> holding     (at the target; stands and goes on logging pairs)
    holding   --held--> idle
    armed, reversing --fault--> fault; armed, reversing, holding --stop--> stopped
    stopped, fault --rested--> idle
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from device.belief import Belief, Fix
from shared.samples import Source

State = Literal["idle", "armed", "reversing", "holding", "stopped", "fault"]
Event = Literal["start", "ready", "reached", "held", "stop", "fault", "rested"]

TABLE: dict[tuple[State, Event], State] = {
    ("idle", "start"): "armed",
    ("armed", "ready"): "reversing",
    ("armed", "fault"): "fault",
    ("armed", "stop"): "stopped",
    ("reversing", "reached"): "holding",
    ("reversing", "fault"): "fault",
    ("reversing", "stop"): "stopped",
    ("holding", "held"): "idle",
    ("holding", "stop"): "stopped",
    ("stopped", "rested"): "idle",
    ("fault", "rested"): "idle",
}
"""Every transition there is."""

_MANOEUVRE: frozenset[State] = frozenset({"armed", "reversing", "holding"})


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Limits; lengths are millimetres, speeds mm/s.

    With these a manoeuvre from 330 mm takes about 6 s, which is 25 pairs at 4 Hz as in the
    reference system. `coast_s` is how long the car rolls on once the motors are cut.
    A model and the sensor contradict each other where they differ, smoothed, by more than
    `contradiction_mm` plus `contradiction_share` of the distance: three times the error of an
    ordinary model, and at the target still less than the way to the wall. The wall is near from
    `near_mm` before the target on; until there a contradiction allows `wary_speed`. The sensor sees
    the target passed from `passed_mm` behind it on: three times its noise at that distance. The
    wall of a model may wander by `wander_mm` plus `wander_share` of the distance: on simulated cars
    it wandered by at most 2 mm plus that share in settings that the model knew, and by 4 to 90 mm
    in those that it did not. A sensor's wanders by its noise, 10 mm at 0.4 m and 27 mm at 1 m,
    and that of a stuck one by the way rolled, up to the belief's memory of 50 mm: `wander_most_mm`
    lies between, however far the wall seems.
    """

    target_mm: float = 40.0
    near_speed: float = 25.0
    far_speed: float = 80.0
    slope_per_s: float = 0.4
    ramp_mm_s2: float = 250.0
    coast_s: float = 0.05
    minimum_mm: float = 20.0
    contradiction_mm: float = 30.0
    contradiction_share: float = 0.1
    near_mm: float = 30.0
    wary_speed: float = 40.0
    passed_mm: float = 5.0
    wander_mm: float = 7.0
    wander_share: float = 0.08
    wander_most_mm: float = 40.0
    sigma_mm: float = 60.0
    frame_age_us: int = 150_000
    reading_age_us: int = 400_000
    arm_us: int = 1_000_000
    hold_us: int = 800_000
    rest_us: int = 300_000
    manoeuvre_us: int = 30_000_000


@dataclass(frozen=True, kw_only=True)
class Observation:
    """All that one step may know. `problem` is the name of a fault found elsewhere, or empty."""

    now_us: int
    start: Source | None = None
    stop: bool = False
    estimate: Fix | None = None
    reading: Fix | None = None
    travelled_mm: float = 0.0
    speed_mm_s: float = 0.0
    is_stalled: bool = False
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Parking:
    """Where a car is in its manoeuvre; `source` is what steers it."""

    state: State = "idle"
    source: Source = "sensor"
    started_us: int = 0
    since_us: int = 0
    belief: Belief = field(default_factory=Belief)
    speed_mm_s: float = 0.0
    stepped_us: int = 0

    @property
    def is_manoeuvring(self) -> bool:
        """Tell whether a manoeuvre is on."""
        return self.state in _MANOEUVRE


@dataclass(frozen=True)
class Step:
    """The outcome: the next state, the speed to reverse at (0 stands) and how a manoeuvre ended."""

    parking: Parking
    speed_mm_s: float
    ended: str | None = None


def step(parking: Parking, seen: Observation, rules: Rules) -> Step:
    """Return what follows from `seen`."""
    steering = seen.estimate if parking.source == "model" else seen.reading
    if parking.is_manoeuvring:
        parking = _learn(parking, seen, steering)
    event, reason = _event(parking, seen, steering, rules)
    state = TABLE.get((parking.state, event), parking.state) if event else parking.state
    ended = reason if parking.is_manoeuvring and state not in _MANOEUVRE else None
    after = parking if state == parking.state else _enter(parking, state, seen)
    speed = _speed(after, seen, rules) if state == "reversing" else 0.0
    return Step(replace(after, speed_mm_s=speed, stepped_us=seen.now_us), speed, ended)


def remaining_mm(parking: Parking, travelled_mm: float) -> float | None:
    """Return the distance to the wall by what steers, or None before it is known."""
    return None if parking.belief.wall_mm is None else parking.belief.wall_mm - travelled_mm


def speed_law(distance_mm: float, rules: Rules) -> float:
    """Return the speed allowed at `distance_mm`: falling with the distance, 0 at the target."""
    beyond = distance_mm - rules.target_mm
    if beyond <= 0:
        return 0.0
    return min(rules.far_speed, rules.near_speed + rules.slope_per_s * beyond)


def buzzer_is_on(distance_mm: float, now_us: int, rules: Rules) -> bool:
    """Tell whether the parking beep sounds now: faster the nearer, steady at the target."""
    beyond = distance_mm - rules.target_mm
    if beyond <= 2:
        return True
    period_us = int(min(1_000_000, 80_000 + 3_000 * beyond))
    return now_us % period_us < period_us // 2


def _enter(parking: Parking, state: State, seen: Observation) -> Parking:
    if state == "armed":
        return Parking(
            state="armed",
            source=seen.start or "sensor",
            started_us=seen.now_us,
            since_us=seen.now_us,
        )
    return replace(parking, state=state, since_us=seen.now_us)


def _event(
    parking: Parking, seen: Observation, steering: Fix | None, rules: Rules
) -> tuple[Event | None, str]:
    """Return the event and, where it may end a manoeuvre, the reason to record."""
    if seen.stop:
        return "stop", "stop"
    state = parking.state
    if state == "idle":
        return ("start" if seen.start else None), ""
    stood_us = seen.now_us - parking.since_us
    if state in ("stopped", "fault"):
        return ("rested" if stood_us >= rules.rest_us else None), ""
    if state == "holding":
        return ("held" if stood_us >= rules.hold_us else None), "target"
    fault = _fault(parking, seen, steering, rules)
    if fault:
        return "fault", fault
    if parking.belief.wall_mm is None or steering is None:
        return None, ""
    if state == "armed":
        return "ready", ""
    left_mm = parking.belief.wall_mm - seen.travelled_mm - seen.speed_mm_s * rules.coast_s
    return ("reached" if left_mm <= rules.target_mm else None), ""


def _fault(parking: Parking, seen: Observation, steering: Fix | None, rules: Rules) -> str:
    """Return the name of what is wrong while armed or reversing, or an empty text."""
    if seen.problem:
        return seen.problem
    if seen.now_us - parking.started_us > rules.manoeuvre_us:
        return "timeout"
    if parking.state == "armed":
        waited = seen.now_us - parking.started_us > rules.arm_us
        return "nothing_to_drive_by" if waited and parking.belief.wall_mm is None else ""
    if seen.is_stalled:
        return "stalled_wheel"
    if _is_stale(parking, seen, steering, rules):
        return "stale_picture" if parking.source == "model" else "no_reading"
    reading = _fresh(seen.reading, seen, rules)
    if reading and _left_mm(reading, seen) < rules.minimum_mm:
        return "too_close"
    if parking.source == "sensor":
        return _wandering(parking.belief, seen, rules)
    return _doubt(parking, seen, reading, rules)


def _doubt(parking: Parking, seen: Observation, reading: Fix | None, rules: Rules) -> str:
    """Return what speaks against driving on by the model, or an empty text."""
    belief = parking.belief
    if belief.sigma_mm > rules.sigma_mm:
        return "uncertain"
    if reading is None:
        return _wandering(belief, seen, rules)
    believed_mm = (belief.wall_mm or 0.0) - seen.travelled_mm
    left_mm = _left_mm(reading, seen) - seen.speed_mm_s * rules.coast_s
    if left_mm < rules.target_mm - rules.passed_mm:
        return "too_close"
    is_near = min(left_mm, believed_mm) <= rules.target_mm + rules.near_mm
    return "contradiction" if is_near and _is_contradicted(belief, reading, rules) else ""


def _wandering(belief: Belief, seen: Observation, rules: Rules) -> str:
    believed_mm = (belief.wall_mm or 0.0) - seen.travelled_mm
    may_mm = rules.wander_mm + rules.wander_share * max(0.0, believed_mm)
    is_wandering = belief.wandered_mm > min(may_mm, rules.wander_most_mm)
    return "wandering_wall" if is_wandering else ""


def _is_contradicted(belief: Belief, reading: Fix, rules: Rules) -> bool:
    share_mm = rules.contradiction_share * max(0.0, reading.distance_mm)
    return belief.apart_mm > rules.contradiction_mm + share_mm


def _left_mm(fix: Fix, seen: Observation) -> float:
    return fix.wall_mm - seen.travelled_mm


def _is_stale(parking: Parking, seen: Observation, steering: Fix | None, rules: Rules) -> bool:
    limit_us = rules.frame_age_us if parking.source == "model" else rules.reading_age_us
    return steering is None or seen.now_us - steering.at_us > limit_us


def _fresh(fix: Fix | None, seen: Observation, rules: Rules) -> Fix | None:
    return fix if fix and seen.now_us - fix.at_us <= rules.reading_age_us else None


def _learn(parking: Parking, seen: Observation, steering: Fix | None) -> Parking:
    if steering is None or steering.at_us <= parking.started_us:
        return parking
    reading = seen.reading if parking.source == "model" else None
    return replace(parking, belief=parking.belief.learn(steering, reading))


def _speed(parking: Parking, seen: Observation, rules: Rules) -> float:
    distances = (
        [parking.belief.wall_mm - seen.travelled_mm] if parking.belief.wall_mm is not None else []
    )
    reading = _fresh(seen.reading, seen, rules)
    if reading is not None:
        # The sensor may be trusted to slow the car, whatever drives it; never to a stand, which
        # would leave it short of a target that only the model sees.
        distances.append(max(rules.target_mm + 1.0, _left_mm(reading, seen)))
    allowed = min((speed_law(distance, rules) for distance in distances), default=0.0)
    if parking.source == "model" and reading and _is_contradicted(parking.belief, reading, rules):
        allowed = min(allowed, rules.wary_speed)
    dt_s = max(0, seen.now_us - parking.stepped_us) / 1e6
    return min(allowed, parking.speed_mm_s + rules.ramp_mm_s2 * dt_s)
