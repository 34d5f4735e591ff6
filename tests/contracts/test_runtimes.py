"""LiteRT and tflite-runtime give the same estimates from the same file, within two output steps."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from device.golden import compare
from hardware_sim.render import Renderer
from hardware_sim.scene import load
from shared import golden
from shared.manifest import Manifest

pytestmark = pytest.mark.e2e

_ROOT = Path(__file__).parents[2]
_MODEL = _ROOT / "tests" / "golden" / "models" / "two-floors.tflite"
_TFLITE_RUNTIME = _ROOT / ".venv32" / "bin" / "python"
_PICTURES = 60


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures over the whole range, of the floors that the model knows and of another."""
    path = tmp_path_factory.mktemp("pictures") / "pictures.npy"
    taken = [
        Renderer(load(name), 5).picture(5.0 + 340.0 * number / _PICTURES)
        for name in ("beige", "red", "green")
        for number in range(_PICTURES)
    ]
    np.save(path, np.stack(taken))
    return path


def _estimates(python: Path, pictures: Path) -> list[tuple[float, float]]:
    done = subprocess.run(
        [
            str(python),
            *("-m", "tests.contracts.estimate_pictures"),
            *(str(_MODEL), str(_MODEL.with_suffix(".json")), str(pictures)),
        ],
        capture_output=True,
        check=False,
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    )
    assert done.returncode == 0, done.stderr.decode()
    found: list[tuple[float, float]] = json.loads(done.stdout)
    return found


def test_the_golden_pictures_are_answered_alike_where_the_model_will_run(tmp_path: Path) -> None:
    if not _TFLITE_RUNTIME.exists():
        pytest.skip("no environment with tflite-runtime: make venv32")
    manifest = Manifest.from_json(_MODEL.with_suffix(".golden.json").read_text())
    shown = golden.pictures()
    np.save(tmp_path / "golden.npy", np.stack(shown))
    answers = iter(_estimates(_TFLITE_RUNTIME, tmp_path / "golden.npy"))
    agreement = compare(manifest, lambda _picture: next(answers), shown)
    assert agreement is not None
    assert agreement.holds, str(agreement)


def test_both_runtimes_agree_within_two_output_steps(pictures: Path) -> None:
    if not _TFLITE_RUNTIME.exists():
        pytest.skip("no environment with tflite-runtime: make venv32")
    manifest = Manifest.from_json(_MODEL.with_suffix(".json").read_text())
    step_mm = manifest.value.scale * manifest.task.span
    here = np.array(_estimates(Path(sys.executable), pictures))
    there = np.array(_estimates(_TFLITE_RUNTIME, pictures))
    assert len(here) == 3 * _PICTURES
    assert np.ptp(here[:, 0]) > 200
    assert np.abs(here[:, 0] - there[:, 0]).max() <= 2 * step_mm + 1e-6
    ratio = np.abs(np.log(here[:, 1] / there[:, 1]))
    assert ratio.max() <= 2 * manifest.log_sigma.scale + 1e-6
