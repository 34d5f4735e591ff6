"""What a run ran on: source version, libraries, machine. Read once, without being asked.

Law: what cannot be known is left out, never guessed.
"""

import os
import platform
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

import psutil

from shared import __version__

_HERE = Path(__file__).resolve().parent
_LIBRARIES = (
    "tensorflow", "keras", "ai-edge-litert", "numpy", "opencv-python-headless", "optuna", "mlflow",
)  # fmt: skip


@cache
def source() -> dict[str, str]:
    """Return MLflow's tags of the source: name, kind, and the commit where it is a checkout."""
    tags = {"mlflow.source.name": "parkfleet trainer", "mlflow.source.type": "LOCAL"}
    commit = _git("rev-parse", "HEAD")
    if commit:
        tags["mlflow.source.git.commit"] = commit
        tags["source.changed"] = (
            "yes" if _git("status", "--porcelain", "--", "trainer", "shared") else "no"
        )
    return tags


@cache
def versions() -> dict[str, str]:
    """Return the versions of what shapes a model, by name."""
    found = {"parkfleet": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def machine() -> dict[str, str]:
    """Return what the machine is, and what TensorFlow may train on."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": str(os.cpu_count() or 0),
        "memory_mib": str(psutil.virtual_memory().total // 2**20),
        "gpus": ", ".join(each.name for each in gpus) or "none",
    }


@cache
def requirements() -> str:
    """Return every installed package with its exact version, as pip reads it back."""
    lines = {f"{each.name}=={each.version}" for each in metadata.distributions() if each.name}
    return f"# Python {sys.version.split()[0]}\n" + "\n".join(sorted(lines, key=str.lower)) + "\n"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.processor()


def _git(*arguments: str) -> str:
    """Return what git says of this source; nothing where it is no checkout."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", "-C", str(_HERE), *arguments],  # noqa: S607 - whichever git the person uses
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
