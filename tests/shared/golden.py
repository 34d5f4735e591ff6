"""Writes the golden wire payloads: what each message looks like in bytes, for ever.

A new schema version gets a new folder; old folders stay, so that what an older car sends can still
be read: `python -m tests.shared.golden v2`.
"""

import re
import sys
from pathlib import Path

from shared import codec, messages
from shared.samples import content_hash
from shared.signing import SigningKey, seal
from shared.topics import BATCH, DESIRED, TABLE, Topic
from tests.shared.examples import DEVICE, EXAMPLES, MANOEUVRE, SAMPLE, example

FOLDER = Path(__file__).parent.parent / "golden" / "wire"
KEY = SigningKey(bytes(range(32)))


def file_name(kind: type[messages.Message]) -> str:
    """Return the golden file of a message type: `command_result.bin`."""
    return re.sub(r"(?<!^)([A-Z])", r"_\1", kind.__name__).lower() + ".bin"


def payloads() -> dict[str, bytes]:
    """Return every golden file of the present schema version by name."""
    plain = {file_name(type(each)): codec.encode(each) for each in EXAMPLES}
    signed = {f"sealed_{row.name}.bin": sealed(row) for row in (BATCH, DESIRED)}
    hashes = {
        "sample.sha256": content_hash(SAMPLE).encode(),
        "manoeuvre_end.sha256": content_hash(MANOEUVRE).encode(),
    }
    return {**plain, **signed, **hashes}


def sealed(row: Topic) -> bytes:
    """Return a topic's example in an envelope of the golden key."""
    return seal(example(row.message), topic=row.topic(id=DEVICE), key=KEY)


def versions() -> list[Path]:
    """Return the folders of all schema versions, oldest first."""
    return sorted(FOLDER.iterdir(), key=lambda folder: int(folder.name.removeprefix("v")))


def kinds() -> list[type[messages.Message]]:
    """Return every message type that crosses MQTT."""
    return [row.message for row in TABLE]


def write(version: str) -> None:
    """Write the payloads of the present schema into the folder of `version`."""
    folder = FOLDER / version
    folder.mkdir(parents=True, exist_ok=True)
    for name, payload in payloads().items():
        (folder / name).write_bytes(payload)


if __name__ == "__main__":
    write(sys.argv[1])
