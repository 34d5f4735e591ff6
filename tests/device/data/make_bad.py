"""Makes models that are signed like any other and must not drive, each bad in one way.

- `nan`: float outputs that are no numbers;
- `constant`: the same distance whatever it sees;
- `shape`: takes pictures of another size than its manifest says;
- `slow`: right, and many times slower than `tiny`.

Each gets the manifest that a trainer would have written for it. Run from the repository's root:
python -m tests.device.data.make_bad
"""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import tensorflow as tf

from shared.ids import sha256_hex
from shared.manifest import Manifest, Tensor

_HERE = Path(__file__).parent
_TINY = Manifest.from_json((_HERE / "tiny.json").read_bytes())
_HEIGHT, _WIDTH = 75, 100


def _means(picture: Any) -> Any:
    pooled = tf.keras.layers.AveragePooling2D(picture.shape[1:3])(picture)
    return tf.keras.layers.Flatten()(pooled)


def _network(kind: str) -> Any:
    height = 50 if kind == "shape" else _HEIGHT
    picture = tf.keras.Input(batch_shape=(1, height, _WIDTH, 3))
    seen = picture
    if kind == "slow":
        for _ in range(12):
            seen = tf.keras.layers.Conv2D(24, 3, padding="same", activation="relu")(seen)
    means = _means(seen)
    value, log_sigma = tf.keras.layers.Dense(1), tf.keras.layers.Dense(1)
    outputs = {"value": value(means), "log_sigma": log_sigma(means)}
    if kind == "constant":
        value.set_weights([np.zeros((3, 1)), np.array([0.5])])
    if kind == "nan":
        negative = tf.keras.layers.Lambda(lambda x: tf.math.log(-1.0 - x * x))
        outputs["value"] = negative(outputs["value"])
    return tf.keras.Model(picture, outputs)


def _convert(network: Any, *, quantise: bool) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    if quantise:
        rng = np.random.default_rng(0)
        shape = network.inputs[0].shape
        pictures = [rng.uniform(size=shape).astype(np.float32) * level for level in (0, 0.5, 1)]
        pictures += [np.full(shape, level, np.float32) for level in np.linspace(0, 1, 20)]
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([each] for each in pictures)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def _tensor(details: dict[str, Any]) -> Tensor:
    scale, zero_point = details["quantization"]
    return Tensor(
        name=details["name"],
        shape=tuple(int(n) for n in details["shape"]),
        dtype=np.dtype(details["dtype"]).name,
        scale=float(scale),
        zero_point=int(zero_point),
    )


def main() -> None:
    """Write every model and its manifest."""
    for kind in ("nan", "constant", "shape", "slow"):
        model = _convert(_network(kind), quantise=kind != "nan")
        interpreter = tf.lite.Interpreter(model_content=model)
        runner = interpreter.get_signature_runner()
        outputs = runner.get_output_details()
        manifest = msgspec.structs.replace(
            _TINY,
            sha256=sha256_hex(model),
            size_bytes=len(model),
            input=_tensor(interpreter.get_input_details()[0]),
            value=_tensor(outputs["value"]),
            log_sigma=_tensor(outputs["log_sigma"]),
            run_id=kind,
        )
        (_HERE / f"bad-{kind}.tflite").write_bytes(model)
        (_HERE / f"bad-{kind}.json").write_text(manifest.to_json() + "\n")


if __name__ == "__main__":
    main()
