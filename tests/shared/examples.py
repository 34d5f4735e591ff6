"""One full example of every message, and messages drawn at random from their own declarations."""

from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from shared import messages
from shared.samples import (
    Characteristics,
    Estimate,
    Latency,
    ManoeuvreEnd,
    Picture,
    Sample,
)

DEVICE = "car-1"
BOOT = "00000007-0badcafe"
DIGEST = "0123456789abcdef" * 4
PATH = f"wall-distance/garage/{DIGEST}.tflite"

SAMPLE = Sample(
    task="wall-distance",
    device=DEVICE,
    boot=BOOT,
    sequence=41,
    monotonic_us=1_000_001,
    utc_us=1_700_000_000_000_002,
    clock_synced=True,
    manoeuvre=3,
    source="model",
    deployment="garage",
    desired_revision=9,
    camera="rear",
    calibration="factory",
    label=123.5,
    label_unit="mm",
    sensor_status="ok",
    skew_us=1_250,
    estimates=(
        Estimate(model=DIGEST, value=120.25, sigma=3.75),
        Estimate(model="f" * 64, value=130.5, sigma=4.5),
    ),
    characteristics=Characteristics(
        brightness=101.5,
        saturation=55.25,
        hue=17.125,
        mean_red=110.5,
        mean_green=100.25,
        mean_blue=90.125,
        contrast=21.0625,
        texture=310.5,
        keypoints=37,
    ),
    latency=Latency(frame_age_us=21_000, preprocess_us=400, inference_us=900),
    picture_sha256=DIGEST,
)

MANOEUVRE = ManoeuvreEnd(
    task="wall-distance",
    device=DEVICE,
    boot=BOOT,
    manoeuvre=3,
    deployment="garage",
    source="model",
    started_utc_us=1_700_000_000_000_000,
    ended_utc_us=1_700_000_006_000_000,
    clock_synced=True,
    pairs=24,
    reason="target",
    stop_label=40.5,
    stop_estimate=41.25,
)

PICTURE = Picture(
    device=DEVICE, boot=BOOT, sequence=41, sha256=DIGEST, jpeg=b"\xff\xd8\x00\xff\xd9"
)

EXAMPLES: tuple[messages.Message, ...] = (
    messages.Presence(device=DEVICE, boot=BOOT, connection=2, online=True),
    messages.Status(
        device=DEVICE,
        boot=BOOT,
        utc_us=1_700_000_000_000_003,
        clock_synced=False,
        loaded=DIGEST,
        loaded_release_seq=4,
        slots=(
            messages.Slot(name="a", model=DIGEST, release_seq=4, state="active"),
            messages.Slot(name="b", model=None, release_seq=0, state="empty"),
        ),
        deployment="garage",
        desired_epoch=1,
        desired_revision=9,
        upload="pictures",
        queue_depth=12,
        pairs_logged=400,
        pairs_dropped=1,
        disk_free_bytes=10_000_000_000,
        temperature_c=48.5,
        versions={"parkfleet": "0.1.0", "litert": "2.3"},
        faults=("stalled",),
        dropped={"crowded": 1},
    ),
    messages.Telemetry(
        device=DEVICE,
        boot=BOOT,
        utc_us=1_700_000_000_000_004,
        state="reversing",
        label=123.5,
        estimate=120.25,
        sigma=3.75,
        speed_mm_s=95.5,
        manoeuvre=3,
    ),
    messages.Batch(device=DEVICE, samples=(SAMPLE,), manoeuvres=(MANOEUVRE,), pictures=(PICTURE,)),
    messages.Receipt(
        device=DEVICE, batch=DIGEST, outcome="rejected", reason="no such deployment", new_samples=5
    ),
    messages.Desired(
        device=DEVICE,
        epoch=1,
        revision=9,
        deployment="garage",
        target=PATH,
        candidate="wall-distance/garage/candidate.tflite",
        arms={PATH: 0.75, "wall-distance/garage/candidate.tflite": 0.25},
        upload="characteristics",
    ),
    messages.Command(
        device=DEVICE,
        actor="alex",
        boot=BOOT,
        connection=2,
        number=11,
        verb="pictures",
        arguments={"first": "40", "last": "60"},
    ),
    messages.CommandResult(
        device=DEVICE, actor="alex", number=11, outcome="refused", reason="not armed"
    ),
    messages.Operators(
        revision=12,
        utc_us=1_700_000_000_000_006,
        keys=(
            messages.OperatorKey(
                name="alex", public_key=bytes(range(32)), until_utc_us=1_800_000_000_000_000
            ),
        ),
    ),
    messages.UpdateEvent(
        device=DEVICE,
        boot=BOOT,
        utc_us=1_700_000_000_000_005,
        number=6,
        target=PATH,
        model=DIGEST,
        state="probing",
        reason="started",
        evidence={"load_ms": 12.5},
    ),
    messages.ReleaseMetadata(files={"1.root.json": b"{}", "timestamp.json": b'{"a":1}'}),
    messages.Chunk(data=b"TFL3" + bytes(range(256))),
)
"""Every field is filled, every float is set and none equals another in its message."""


def example(kind: type[messages.Message]) -> messages.Message:
    """Return the example of a message type."""
    return next(each for each in EXAMPLES if type(each) is kind)


def drawn(kind: type[messages.Message]) -> st.SearchStrategy[messages.Message]:
    """Return a strategy for messages of `kind`, read from its declaration."""
    described = inspect.type_info(kind)
    return _drawn(described).map(lambda fields: msgspec.convert(fields, kind))


def _drawn(kind: inspect.Type) -> st.SearchStrategy[Any]:
    if isinstance(kind, inspect.StructType):
        return st.fixed_dictionaries({field.name: _drawn(field.type) for field in kind.fields})
    if isinstance(kind, inspect.VarTupleType):
        return st.lists(_drawn(kind.item_type), max_size=min(kind.max_length or 3, 3)).map(tuple)
    if isinstance(kind, inspect.DictType):
        return st.dictionaries(_drawn(kind.key_type), _drawn(kind.value_type), max_size=2)
    if isinstance(kind, inspect.UnionType):
        return st.one_of(*map(_drawn, kind.types))
    return _drawn_scalar(kind)


def _drawn_scalar(kind: inspect.Type) -> st.SearchStrategy[Any]:
    if isinstance(kind, inspect.StrType):
        if kind.pattern:
            pattern = st.from_regex(kind.pattern, fullmatch=True)
            return pattern.filter(lambda text: len(text) <= (kind.max_length or 100))
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=kind.max_length or 20)
    if isinstance(kind, inspect.IntType):
        return st.integers(kind.ge, kind.le)
    if isinstance(kind, inspect.FloatType):
        return st.floats(allow_nan=False, allow_infinity=False)
    if isinstance(kind, inspect.BytesType):
        return st.binary(max_size=min(kind.max_length or 200, 200))
    if isinstance(kind, inspect.LiteralType):
        return st.sampled_from(kind.values)
    plain: dict[type[inspect.Type], st.SearchStrategy[Any]] = {
        inspect.BoolType: st.booleans(),
        inspect.NoneType: st.none(),
    }
    return plain[type(kind)]
