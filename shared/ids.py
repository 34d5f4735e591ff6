"""Names and keys that identify things across machines.

Laws:
- a device name is also its MQTT user name and client id and part of its topics, so it holds nothing
  that a topic filter, a path or a shell would read as syntax;
- a boot id is new at every start of drive: a persisted counter orders boots, 32 random bits keep
  two boots apart even where the counter was lost with its file;
- (device, boot, sequence) names one sample for ever; a sequence is never used twice.
"""

import hashlib
import re
from typing import Annotated, NamedTuple

import msgspec

# A bare `$` also matches before a final line feed, and msgspec searches rather than matches whole.
END = r"(?!\n)$"
"""The end of a text in a pattern, and nothing but the end."""

_DEVICE = r"^[a-z0-9][a-z0-9-]{0,46}[a-z0-9]" + END
_BOOT = r"^[0-9]{8}-[0-9a-f]{8}" + END
_DIGEST = r"^[0-9a-f]{64}" + END
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}" + END

DeviceName = Annotated[str, msgspec.Meta(pattern=_DEVICE, max_length=48)]
"""2 to 48 lower-case letters, digits and inner hyphens."""

BootId = Annotated[str, msgspec.Meta(pattern=_BOOT, max_length=17)]
"""Eight decimal digits of a counter, a hyphen, eight hexadecimal digits of randomness."""

Sha256 = Annotated[str, msgspec.Meta(pattern=_DIGEST, max_length=64)]
"""A SHA-256 digest in lower-case hexadecimal."""

Name = Annotated[str, msgspec.Meta(pattern=_NAME, max_length=64)]
"""A name people give: deployment, task, calibration, camera."""


class SampleKey(NamedTuple):
    """The identity of one sample."""

    device: str
    boot: str
    sequence: int


def is_device_name(text: str) -> bool:
    """Tell whether `text` may name a device."""
    return re.fullmatch(_DEVICE, text) is not None


def is_name(text: str) -> bool:
    """Tell whether `text` may name a deployment, task, camera or calibration."""
    return re.fullmatch(_NAME, text) is not None


def is_sha256(text: str) -> bool:
    """Tell whether `text` is a SHA-256 digest in lower-case hexadecimal."""
    return re.fullmatch(_DIGEST, text) is not None


def boot_id(counter: int, entropy: bytes) -> str:
    """Return the boot id for the `counter`-th start with four random bytes of `entropy`.

    Raises:
        ValueError: `counter` is outside 0..99999999 or `entropy` is not four bytes.
    """
    if not 0 <= counter <= 99_999_999 or len(entropy) != 4:
        raise ValueError(f"no boot id for counter {counter} and {len(entropy)} random bytes")
    return f"{counter:08d}-{entropy.hex()}"


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 digest of `data` in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()
