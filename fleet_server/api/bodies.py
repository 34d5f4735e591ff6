"""What requests carry, checked before any route sees it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from fleet_server.tokens import Role
from shared.credentials import VERIFIER_PATTERN

DevicePattern = r"^[a-z0-9][a-z0-9-]{0,46}[a-z0-9]$"
NamePattern = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
DigestPattern = r"^[0-9a-f]{64}$"

DeviceText = Annotated[str, Field(pattern=DevicePattern, max_length=48, examples=["car-1"])]
NameText = Annotated[str, Field(pattern=NamePattern, max_length=64, examples=["garage"])]
DigestText = Annotated[str, Field(pattern=DigestPattern, max_length=64, examples=["0" * 64])]
PlainPattern = r"^[^\x00-\x1f\x7f]*$"
"""One line: what goes into the log book must not look like another line of a log."""

PlainText = Annotated[str, Field(pattern=PlainPattern, max_length=200, examples=["a word or two"])]
ReasonPattern = r"^[^\x00-\x1f\x7f\s][^\x00-\x1f\x7f]*[^\x00-\x1f\x7f\s]$"
"""As above, and no blanks at its ends: three of them are no reason."""

ReasonText = Annotated[
    str,
    Field(
        pattern=ReasonPattern, min_length=3, max_length=200, examples=["the floor was painted red"]
    ),
]


class Body(BaseModel):
    """What a request carries: these fields and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Side = Annotated[int, Field(ge=16, le=1024)]
Bound = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
Microseconds = Annotated[int, Field(ge=0, le=2**53 - 1)]
Digests = Annotated[dict[NameText, DigestText], Field(max_length=64)]
Words = Annotated[dict[NameText, PlainText], Field(max_length=256)]


class NewTask(Body):
    """What another camera beside another reference sensor estimates; see `shared.task`."""

    name: NameText
    label: NameText
    unit: Annotated[str, Field(pattern=PlainPattern, min_length=1, max_length=16)]
    low: Bound
    high: Bound
    picture_width: Side
    picture_height: Side


class Why(Body):
    """Why somebody decides so."""

    reason: ReasonText


class NewDeployment(Body):
    """A setting, and why; `task` is the name of a known one, a whole one, or the wall distance."""

    name: NameText
    task: NameText | NewTask = "wall-distance"
    reason: ReasonText


class NewEnrolment(Body):
    """Asks for a one-time code for a car, and why."""

    device: DeviceText
    deployment: NameText
    reason: ReasonText


Verifier = Annotated[str, Field(pattern=VERIFIER_PATTERN, max_length=120)]
Signature = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$", max_length=128)]


class EnrolmentClaim(Body):
    """A car enrols with its code and the public halves of its own keys.

    `mqtt_verifier` is mosquitto's digest of the secret; without it only the embedded broker knows
    the car.
    """

    code: Annotated[str, Field(max_length=200)]
    device: DeviceText
    public_key: DigestText
    mqtt_secret_sha256: DigestText
    mqtt_verifier: Verifier | None = None


class KeyRotation(Body):
    """An enrolled car changes its keys, signed with the present one and the new one."""

    device: DeviceText
    public_key: DigestText
    mqtt_secret_sha256: DigestText
    mqtt_verifier: Verifier
    by_present: Signature
    by_new: Signature


class Confirmation(Body):
    """A person compared the fingerprint that the car shows with the one that the server shows."""

    fingerprint: Annotated[
        str, Field(pattern=r"^[0-9a-f ]{32,47}$", examples=["0123 4567 89ab cdef " * 2])
    ]
    reason: ReasonText


class Pin(Body):
    """The version that a deployment's cars run, whatever comes; null lets them follow `latest`."""

    version: Annotated[int, Field(ge=1, le=2**53 - 1)] | None
    reason: ReasonText


class RolloutOrder(Body):
    """What becomes of the rollout under way, and why: `ended` promotes its model."""

    state: Literal["paused", "running", "aborted", "ended"]
    reason: ReasonText


class DeploymentStatus(Body):
    """Whether a deployment is in use, and why."""

    status: Literal["active", "retired"]
    reason: ReasonText


class Labels(Body):
    """All labels of a car, and why."""

    labels: Annotated[dict[NameText, PlainText], Field(max_length=32)]
    reason: ReasonText


class Move(Body):
    """Puts a car into another deployment, and why."""

    deployment: NameText
    reason: ReasonText


class NewJob(Body):
    """Asks for a training, and why; with `trials` above 0 so many settings are tried for it."""

    deployment: NameText
    reason: ReasonText
    trials: Annotated[int, Field(ge=0, le=1000)] = 0


class JobClaim(Body):
    """A worker asks for work; its name is the release role that it signs as."""

    worker: NameText


class JobProgress(Body):
    """How far a job is; keeps the lease. `attempt` is that of the claim, where it is sent."""

    stage: Annotated[str, Field(pattern=PlainPattern, max_length=64, examples=["fit"])]
    fraction: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
    message: PlainText = ""
    attempt: Annotated[int, Field(ge=1)] | None = None


class JobFailure(Body):
    """Why a job has failed."""

    reason: PlainText
    attempt: Annotated[int, Field(ge=1)] | None = None


class Because(Body):
    """A change that needs nothing but its reason."""

    reason: ReasonText


class Note(Body):
    """What a person writes into the log book; without a deployment it is about the whole fleet."""

    deployment: NameText | None = None
    reason: ReasonText
    model: DigestText | None = None


class NewToken(Body):
    """Asks for an access token, and why."""

    name: NameText
    role: Role
    reason: ReasonText


class NewAnnotation(Body):
    """What a person writes to a pair; `label` is what it should have been, in the task's unit."""

    kind: Literal["note", "wrong-label", "bad-picture"]
    text: PlainText
    label: Bound | None = None


class NewErasure(Body):
    """What is to be deleted for good, and why: a car's, a stretch of time's, or both."""

    device: DeviceText | None = None
    since_utc_us: Microseconds | None = None
    until_utc_us: Microseconds | None = None
    reason: ReasonText


class RunStep(Body):
    """One step of a run: what it read and made (digests by name), with which parameters."""

    name: NameText
    inputs: Digests = Field(default_factory=dict)
    outputs: Digests = Field(default_factory=dict)
    parameters: Words = Field(default_factory=dict)
    seconds: Annotated[float, Field(ge=0.0, le=1e9, allow_inf_nan=False)] | None = None


class NewRun(Body):
    """The record of a run, from which its model can be made again.

    `model` is what came of it, `refusal` why that goes nowhere; empty where it may.
    """

    run: NameText
    experiment: NameText
    attempt: Annotated[int, Field(ge=1, le=2**53 - 1)]
    dataset_sha256: DigestText
    parameters: Words = Field(default_factory=dict)
    metrics: Annotated[dict[NameText, Bound], Field(max_length=256)] = Field(default_factory=dict)
    versions: Words = Field(default_factory=dict)
    steps: Annotated[tuple[RunStep, ...], Field(max_length=64)] = ()
    model: DigestText | None = None
    refusal: Annotated[str, Field(pattern=PlainPattern, max_length=2000)] = ""
