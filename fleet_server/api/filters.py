"""What lists may be asked for, checked before a query sees it."""

from typing import Annotated

from fastapi import Path, Query

from fleet_server.api.bodies import DevicePattern, DigestPattern, NamePattern

MAX_NUMBER = 2**53 - 1
"""The largest whole number that every JSON reader holds exactly."""

OfDevice = Annotated[
    str | None,
    Query(pattern=DevicePattern, max_length=48, description="Of this car.", examples=["car-1"]),
]
OfDeployment = Annotated[
    str | None,
    Query(pattern=NamePattern, max_length=64, description="In this deployment.", examples=["yard"]),
]
OfGroup = Annotated[
    tuple[Annotated[str, Query(max_length=160)], ...],
    Query(max_length=32, description="With this label.", examples=[["place=garage"]]),
]
OfManoeuvre = Annotated[int | None, Query(ge=0, le=MAX_NUMBER, description="Of this manoeuvre.")]
Since = Annotated[
    int | None,
    Query(ge=0, le=MAX_NUMBER, description="Received at this UTC microsecond or later."),
]
Until = Annotated[
    int | None, Query(ge=0, le=MAX_NUMBER, description="Received before this UTC microsecond.")
]
LabelBound = Annotated[float | None, Query(ge=-1e9, le=1e9, allow_inf_nan=False)]

DeviceId = Annotated[str, Path(pattern=DevicePattern, max_length=48, examples=["car-1"])]
DeploymentName = Annotated[str, Path(pattern=NamePattern, max_length=64, examples=["garage"])]
RowId = Annotated[int, Path(ge=1, le=MAX_NUMBER, examples=[1])]
Digest = Annotated[str, Path(pattern=DigestPattern, max_length=64, examples=["0" * 64])]
Boot = Annotated[
    str, Path(pattern=r"^[0-9]{8}-[0-9a-f]{8}$", max_length=17, examples=["00000001-0a0b0c0d"])
]
RunId = Annotated[str, Path(pattern=NamePattern, max_length=64, examples=["run"])]
Number = Annotated[int, Path(ge=0, le=MAX_NUMBER, examples=[1])]
