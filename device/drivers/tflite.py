"""A quantised model in LiteRT, or in its predecessor tflite-runtime where LiteRT has no wheel.

Laws:
- the bytes that are loaded are those that were hashed: the file is read once;
- a model whose tensors differ from its manifest is not loaded;
- nothing is allocated per picture but the runtime's own work.

A hash is the only defence against a damaged model: 79 of 80 single-byte flips of a file loaded
without complaint.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from shared.errors import RefusedError, UsageError
from shared.ids import sha256_hex
from shared.manifest import Manifest, Tensor, to_label, to_sigma
from shared.picture import PREPROCESSING_ID, Pixels
from shared.releases import MAX_MODEL_BYTES

_SCALE_TOLERANCE = 1e-5
"""Scales travel as decimal text and live as float32 in the file."""

_BYTE_SCALE = 1 / 255
_INPUT_ZEROS = {"int8": -128, "uint8": 0}


class TfliteModel:
    """A loaded model; not for use by two threads at once."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        """Load the model at `path` that `manifest` describes.

        Raises:
            RefusedError: the file is missing, is not the manifest's, or its tensors are not.
            UsageError: no TFLite runtime is installed.
        """
        self.manifest = manifest
        self._interpreter = _interpreter(_read(path, manifest))
        self._input = _index(self._interpreter.get_input_details(), manifest.input)
        outputs = self._interpreter.get_output_details()
        self._value = _index(outputs, manifest.value)
        self._log_sigma = _index(outputs, manifest.log_sigma)
        _check_input(manifest)
        self._picture_shape = manifest.input.shape[1:]
        self._buffer = np.empty(manifest.input.shape, dtype=np.uint8)
        self._floats = np.empty(manifest.input.shape, dtype=np.float32)

    def estimate(self, picture: Pixels) -> tuple[float, float]:
        """Return the estimate for a prepared picture and its standard deviation, in task units.

        Raises:
            RefusedError: the picture is of another shape, the model does not run, or its answer
                is no number.
        """
        if picture.shape != self._picture_shape:
            raise RefusedError(
                f"a picture of shape {picture.shape}, the model takes {self._picture_shape}"
            )
        self._interpreter.set_tensor(self._input, self._quantised(picture))
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            # Some damage shows only where the model is run, though it was loaded.
            raise RefusedError(f"the model does not run: {error}"[:200]) from None
        value = self._output(self._value, self.manifest.value)
        log_sigma = self._output(self._log_sigma, self.manifest.log_sigma)
        if not (math.isfinite(value) and math.isfinite(log_sigma)):
            raise RefusedError(f"model {self.manifest.sha256[:12]} answered {value}, {log_sigma}")
        task = self.manifest.task
        return to_label(value, task), to_sigma(log_sigma, task)

    def _quantised(self, picture: Pixels) -> Any:
        kind = self.manifest.input.dtype
        if kind == "int8":
            # p - 128 for a byte p, without widening: flip the top bit, read it as signed.
            np.bitwise_xor(picture, 0x80, out=self._buffer[0])
            return self._buffer.view(np.int8)
        if kind == "uint8":
            self._buffer[0] = picture
            return self._buffer
        np.multiply(picture, np.float32(_BYTE_SCALE), out=self._floats[0])
        return self._floats

    def _output(self, index: int, tensor: Tensor) -> float:
        raw = float(self._interpreter.get_tensor(index).reshape(-1)[0])
        return tensor.scale * (raw - tensor.zero_point) if tensor.scale else raw


def _read(path: Path, manifest: Manifest) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_MODEL_BYTES + 1)
    except OSError as error:
        raise RefusedError(f"cannot read {path}: {error.strerror}") from None
    if len(content) > MAX_MODEL_BYTES:
        raise RefusedError(f"{path.name} is larger than {MAX_MODEL_BYTES} bytes")
    if sha256_hex(content) != manifest.sha256:
        raise RefusedError(f"{path.name} is damaged: its digest is not the manifest's")
    return content


def _interpreter(content: bytes) -> Any:
    interpreter = _runtime()
    try:
        loaded = interpreter(model_content=content, num_threads=1)
        loaded.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise RefusedError(f"the model does not load: {error}"[:200]) from None
    return loaded


def _runtime() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError:
        try:
            from tflite_runtime.interpreter import Interpreter
        except ModuleNotFoundError:
            raise UsageError(
                "no TFLite runtime is installed: pip install 'parkfleet[device]' "
                "(on a 32-bit system 'parkfleet[device32]')"
            ) from None
    return Interpreter


def _index(details: list[dict[str, Any]], tensor: Tensor) -> int:
    for found in details:
        if found["name"] == tensor.name:
            scale, zero_point = found["quantization"]
            in_file = (tuple(map(int, found["shape"])), np.dtype(found["dtype"]).name, zero_point)
            wanted = (tensor.shape, tensor.dtype, tensor.zero_point)
            if in_file == wanted and math.isclose(
                scale, tensor.scale, rel_tol=_SCALE_TOLERANCE, abs_tol=1e-12
            ):
                return int(found["index"])
            raise RefusedError(
                f"tensor {tensor.name}: the file has {(*in_file, scale)}, "
                f"the manifest {(*wanted, tensor.scale)}"
            )
    raise RefusedError(f"the model has no tensor {tensor.name!r}")


def _check_input(manifest: Manifest) -> None:
    tensor, task = manifest.input, manifest.task
    if tensor.shape != (1, task.picture_height, task.picture_width, 3):
        raise RefusedError(f"input of shape {tensor.shape} does not fit the task {task.name}")
    if manifest.preprocessing != PREPROCESSING_ID:
        raise RefusedError(f"unknown preprocessing {manifest.preprocessing!r}")
    if tensor.dtype == "float32":
        return
    fits = math.isclose(tensor.scale, _BYTE_SCALE, rel_tol=1e-3)
    if not fits or tensor.zero_point != _INPUT_ZEROS[tensor.dtype]:
        raise RefusedError(
            f"input quantised by {tensor.scale} and {tensor.zero_point}; bytes need 1/255 and "
            f"{_INPUT_ZEROS[tensor.dtype]}"
        )
