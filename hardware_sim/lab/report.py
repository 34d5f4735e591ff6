"""Reports: what an experiment measured, for machines (report.json) and for people (report.md).

Laws:
- every acceptance figure is a `Check`, met or not; a report with one that is not met fails its
  command;
- numbers in a report are measured in that run; nothing is typed in;
- a report names the commit, the machine and the versions that it was measured with.
"""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import msgspec

_PACKAGES = (
    "parkfleet",
    "ai-edge-litert",
    "amqtt",
    "fastapi",
    "mlflow",
    "numpy",
    "paho-mqtt",
    "tensorflow",
    "tuf",
)


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One acceptance figure."""

    name: str
    value: float
    unit: str
    limit: float
    better: Literal["lower", "higher"]

    @property
    def met(self) -> bool:
        """Tell whether the value is on the right side of its limit."""
        return self.value <= self.limit if self.better == "lower" else self.value >= self.limit

    def as_dict(self) -> dict[str, object]:
        """Return the check as it stands in report.json."""
        return {**msgspec.structs.asdict(self), "met": self.met}


def provenance() -> dict[str, object]:
    """Return what every report says of where it was measured."""
    return {
        "commit": _commit(),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gib": round(_memory_bytes() / 2**30, 1),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": {"python": platform.python_version(), **_versions()},
    }


def write_json(path: Path, body: dict[str, object], checks: list[Check], seconds: float) -> None:
    """Write report.json: provenance, seconds, checks and the experiment's own `body`."""
    whole = {
        **provenance(),
        "seconds": round(seconds, 1),
        "checks": [check.as_dict() for check in checks],
        **body,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n")


def checks_table(checks: list[Check]) -> str:
    """Return the checks as a Markdown table."""
    rows = ["| check | measured | limit | met |", "|---|---:|---:|---|"]
    for check in checks:
        sign = "≤" if check.better == "lower" else "≥"
        rows.append(
            f"| {check.name} | {check.value:.4g} {check.unit} | {sign} {check.limit:.4g} | "
            f"{'yes' if check.met else '**no**'} |"
        )
    return "\n".join(rows)


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"],  # noqa: S607 - the user's own git
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or "unknown"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
