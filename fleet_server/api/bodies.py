"""What requests carry, checked before any route sees it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

DevicePattern = r"^[a-z0-9][a-z0-9-]{0,46}[a-z0-9]$"
NamePattern = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
DigestPattern = r"^[0-9a-f]{64}$"

DeviceText = Annotated[str, Field(pattern=DevicePattern, max_length=48, examples=["car-1"])]
NameText = Annotated[str, Field(pattern=NamePattern, max_length=64, examples=["garage"])]
DigestText = Annotated[str, Field(pattern=DigestPattern, max_length=64, examples=["0" * 64])]
ReasonText = Annotated[
    str, Field(min_length=3, max_length=200, examples=["the floor was painted red"])
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Side = Annotated[int, Field(ge=16, le=1024)]
Bound = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]


class NewTask(_Body):
    """What another camera beside another reference sensor estimates; see `shared.task`."""

    name: NameText
    label: NameText
    unit: Annotated[str, Field(min_length=1, max_length=16)]
    low: Bound
    high: Bound
    picture_width: Side
    picture_height: Side


class NewDeployment(_Body):
    """A setting; `task` is the name of a known one, or a whole one, or the wall distance."""

    name: NameText
    task: NameText | NewTask = "wall-distance"


class NewEnrolment(_Body):
    """Asks for a one-time code for a car."""

    device: DeviceText
    deployment: NameText


class EnrolmentClaim(_Body):
    """A car enrols with its code and the public halves of its own keys."""

    code: Annotated[str, Field(max_length=200)]
    device: DeviceText
    public_key: DigestText
    mqtt_secret_sha256: DigestText


class Move(_Body):
    """Puts a car into another deployment, and why."""

    deployment: NameText
    reason: ReasonText


class NewJob(_Body):
    """Asks for a training, and why."""

    deployment: NameText
    reason: ReasonText


class JobClaim(_Body):
    """A worker asks for work; its name is the release role that it signs as."""

    worker: NameText


class JobProgress(_Body):
    """How far a job is; keeps the lease. `attempt` is that of the claim, where it is sent."""

    stage: Annotated[str, Field(max_length=64, examples=["fit"])]
    fraction: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
    message: Annotated[str, Field(max_length=200)] = ""
    attempt: Annotated[int, Field(ge=1)] | None = None


class JobFailure(_Body):
    """Why a job has failed."""

    reason: Annotated[str, Field(max_length=200, examples=["too few manoeuvres"])]
    attempt: Annotated[int, Field(ge=1)] | None = None
