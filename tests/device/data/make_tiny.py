"""Makes `tiny.tflite` and its manifest, the model that the tests of drivers and drive load.

`value` is the mean of red and green (0..1); `log_sigma` is -4 plus four times (red mean - green
mean): a grey picture's brightness is the distance, a reddish one makes the model unsure.

Run from the repository's root: python -m tests.device.data.make_tiny
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from shared.ids import sha256_hex
from shared.manifest import Manifest, Tensor
from shared.picture import PREPROCESSING_ID
from shared.task import WALL_DISTANCE

_HERE = Path(__file__).parent


def _network() -> Any:
    picture = tf.keras.Input(batch_shape=(1, 75, 100, 3))
    means = tf.keras.layers.Flatten()(tf.keras.layers.AveragePooling2D((75, 100))(picture))
    value, log_sigma = tf.keras.layers.Dense(1), tf.keras.layers.Dense(1)
    outputs = {"value": value(means), "log_sigma": log_sigma(means)}
    value.set_weights([np.array([[0.5], [0.5], [0.0]]), np.array([0.0])])
    log_sigma.set_weights([np.array([[4.0], [-4.0], [0.0]]), np.array([-4.0])])
    return tf.keras.Model(picture, outputs)


def _pictures() -> Iterator[list[Any]]:
    rng = np.random.default_rng(0)
    for red in np.linspace(0, 1, 15):
        for green in np.linspace(0, 1, 15):
            picture = np.empty((1, 75, 100, 3), np.float32)
            picture[:] = [red, green, rng.uniform()]
            yield [picture]


def _tensor(details: dict[str, Any]) -> Tensor:
    scale, zero_point = details["quantization"]
    return Tensor(
        name=details["name"],
        shape=tuple(int(n) for n in details["shape"]),
        dtype="int8",
        scale=float(scale),
        zero_point=int(zero_point),
    )


def main() -> None:
    """Write both files."""
    converter = tf.lite.TFLiteConverter.from_keras_model(_network())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = _pictures
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    model = converter.convert()
    interpreter = tf.lite.Interpreter(model_content=model)
    outputs = interpreter.get_output_details()
    # The range of `log_sigma` is -8..0, that of `value` 0..1, so its scale tells which is which.
    value, log_sigma = sorted(map(_tensor, outputs), key=lambda tensor: tensor.scale)
    manifest = Manifest(
        sha256=sha256_hex(model),
        size_bytes=len(model),
        task=WALL_DISTANCE,
        deployment="beige",
        release_seq=1,
        input=_tensor(interpreter.get_input_details()[0]),
        value=value,
        log_sigma=log_sigma,
        preprocessing=PREPROCESSING_ID,
        metrics={"mae_mm": 0.7},
        run_id="tiny",
        dataset_sha256="0" * 64,
        minimum_device="0.1.0",
        created_utc_us=1_700_000_000_000_000,
        trainer="tests",
    )
    (_HERE / "tiny.tflite").write_bytes(model)
    (_HERE / "tiny.json").write_text(manifest.to_json() + "\n")


if __name__ == "__main__":
    main()
