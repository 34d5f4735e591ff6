"""What an experiment sees of a fleet, read from the server's REST API.

Laws:
- it looks at one deployment; lists over all of them, from a mark on, are `evaluation.book`'s;
- a model counts as loaded when the car reports its digest, not when it was told.
"""

from typing import Any

import msgspec

from hardware_sim.lab.rest import Server
from shared.samples import Sample


class Observer:
    """One deployment of a fleet server, as seen over REST."""

    def __init__(self, server: Server, deployment: str) -> None:
        """Look at `deployment` on `server`."""
        self._server = server
        self._deployment = deployment

    def devices(self) -> dict[str, dict[str, object]]:
        """Return the server's view of each device of the deployment, by name."""
        return {
            item["device"]: item
            for item in self._server.all("devices")
            if item["deployment"] == self._deployment
        }

    def versions(self) -> dict[str, str]:
        """Return every model's name by its digest, "demo-1 v2" where it is another deployment's."""
        return {
            item["sha256"]: f"v{item['version']}"
            if item["deployment"] == self._deployment
            else f"{item['deployment']} v{item['version']}"
            for item in self._server.all("models")
        }

    def newest_model(self) -> str | None:
        """Return the digest of the newest model of the deployment."""
        models = list(self._server.all("models", deployment=self._deployment))
        newest = max(models, key=lambda item: item["version"], default=None)
        return None if newest is None else str(newest["sha256"])

    def training(self) -> tuple[str, float] | None:
        """Return (stage, fraction) of the open training job, None where there is none."""
        for job in self._server.all("training-jobs", deployment=self._deployment):
            if job["state"] in ("queued", "running"):
                return str(job["stage"] or job["state"]), float(job["fraction"])
        return None

    def errors(self) -> dict[str, list[float | None]]:
        """Return each device's mean absolute error by manoeuvre, in mm, as they were driven.

        What raised an alarm on the car arrives first, so the order of arrival is another.
        """
        found: dict[str, list[float | None]] = {}
        every = self._server.all("manoeuvres", deployment=self._deployment)
        for item in sorted(every, key=lambda item: (item["boot"], item["manoeuvre"])):
            found.setdefault(item["device"], []).append(item["mae"])
        return found

    def samples(self, device: str) -> list[Sample]:
        """Return every stored sample of `device` in the deployment."""
        return [
            msgspec.convert(item["record"], Sample)
            for item in self._server.all("samples", device=device, deployment=self._deployment)
        ]

    def decisions(self) -> list[dict[str, Any]]:
        """Return the log book of the deployment, oldest first."""
        return list(self._server.all("decisions", deployment=self._deployment))

    def models(self) -> list[dict[str, object]]:
        """Return the deployment's models, oldest first."""
        return list(self._server.all("models", deployment=self._deployment))
