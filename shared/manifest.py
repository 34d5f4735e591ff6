"""A model's identity: which bytes, what goes in, what comes out, where it came from.

Laws:
- the digest is the model; every other field describes those exact bytes;
- a car loads a model only where the tensors in the file equal the manifest's;
- the manifest travels inside signed metadata, so whoever holds it can trust it;
- what a manifest does not have is not in its text, so that an older car reads what it always read.

A model has two outputs, told apart by name: `value` (0..1 over the task's range) and `log_sigma`
(natural logarithm of one standard deviation, in the same 0..1 units).
"""

import math
from typing import Annotated, Literal

import msgspec

from shared.errors import RefusedError
from shared.ids import Name, Sha256
from shared.samples import Count, Record
from shared.task import Task

_LIMIT_BYTES = 64 * 1024
_Answers = Annotated[
    tuple[Annotated[int, msgspec.Meta(ge=-128, le=255)], ...], msgspec.Meta(max_length=64)
]


class Tensor(Record, frozen=True):
    """One input or output of a model file.

    A quantised number q stands for `scale * (q - zero_point)`; scale 0 means not quantised.
    """

    name: Annotated[str, msgspec.Meta(max_length=128)]
    shape: tuple[int, ...]
    dtype: Literal["int8", "uint8", "float32"]
    scale: float = 0.0
    zero_point: int = 0


class Golden(Record, frozen=True):
    """What a model answered to the golden pictures in LiteRT, on the machine that made it.

    `pictures` names the set (`shared.golden`); one answer a picture, in the set's order, as the
    quantised numbers of the outputs `value` and `log_sigma`.
    """

    pictures: Sha256
    value: _Answers
    log_sigma: _Answers

    def __post_init__(self) -> None:
        """Refuse answers that are not pairs.

        Raises:
            ValueError: there are more of one output than of the other.
        """
        if len(self.value) != len(self.log_sigma):
            raise ValueError(f"{len(self.value)} values and {len(self.log_sigma)} log sigmas")


class Manifest(Record, frozen=True, omit_defaults=True):
    """Everything that must be known about a model file.

    `golden` came with the second version of manifests; without it nothing can be compared.
    """

    sha256: Sha256
    size_bytes: Count
    task: Task
    deployment: Name
    release_seq: Count
    input: Tensor
    value: Tensor
    log_sigma: Tensor
    preprocessing: Name
    metrics: Annotated[dict[str, float], msgspec.Meta(max_length=256)]
    run_id: Name
    dataset_sha256: Sha256
    minimum_device: Annotated[str, msgspec.Meta(max_length=32)]
    created_utc_us: Count
    trainer: Name
    golden: Golden | None = None

    def to_json(self) -> str:
        """Return the manifest as canonical JSON text."""
        return msgspec.json.encode(self, order="sorted").decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> "Manifest":
        """Return the manifest in `text`.

        Raises:
            RefusedError: it is too long or malformed.
        """
        if len(text) > _LIMIT_BYTES:
            raise RefusedError(f"manifest of {len(text)} bytes, limit {_LIMIT_BYTES}")
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
            raise RefusedError(f"manifest: {error}"[:200]) from None


def to_label(value: float, task: Task) -> float:
    """Return a model's `value` (0..1) in the task's unit."""
    return task.low + task.span * value


def to_sigma(log_sigma: float, task: Task) -> float:
    """Return a model's `log_sigma` as one standard deviation in the task's unit."""
    return task.span * math.exp(min(log_sigma, 2.0))
