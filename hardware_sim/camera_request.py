"""A frame with the face of `picamera2.request.CompletedRequest`.

Law: a buffer goes back to the camera when the last of its holders gives it back, and is of no use
to anybody from then on.
"""

from typing import Any, Protocol

from shared.picture import Pixels


class _Source(Protocol):
    def array_of(self, exposed_us: int, name: str) -> Pixels: ...

    def returned(self) -> None: ...


class CompletedRequest:
    """One frame, as `picamera2.request.CompletedRequest`; counts its holders."""

    def __init__(self, source: _Source, metadata: dict[str, Any], exposed_us: int) -> None:
        self._source = source
        self._metadata = metadata
        self._exposed_us = exposed_us
        self._holders = 1

    def acquire(self) -> None:
        """Keep the frame's buffer.

        Raises:
            RuntimeError: it was given back already.
        """
        if self._holders == 0:
            raise RuntimeError("CompletedRequest: acquiring lock with ref_count 0")
        self._holders += 1

    def release(self) -> None:
        """Give the buffer back once every holder did.

        Raises:
            RuntimeError: it was given back already.
        """
        if self._holders == 0:
            raise RuntimeError("CompletedRequest: releasing lock with ref_count 0")
        self._holders -= 1
        if self._holders == 0:
            self._source.returned()

    def get_metadata(self) -> dict[str, Any]:
        """Return `SensorTimestamp` (ns), `ExposureTime` (us) and `AnalogueGain`.

        Raises:
            AssertionError: the buffer was given back.
        """
        if self._holders == 0:
            raise AssertionError("CompletedRequest: get_metadata after release")
        return dict(self._metadata)

    def make_array(self, name: str) -> Pixels:
        """Return the picture of the stream `name`; only "main" is configured.

        Raises:
            RuntimeError: there is no such stream, or the buffer was given back.
        """
        if self._holders == 0:
            raise RuntimeError("CompletedRequest: make_array after release")
        return self._source.array_of(self._exposed_us, name)
