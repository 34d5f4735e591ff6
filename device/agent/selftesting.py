"""An operator's self-test, in a process of its own: `parkfleet device selftest --json`.

Laws:
- the agent goes on meanwhile, and survives whatever a driver does to the child;
- the answer names what failed, as far as a command's result has room.
"""

import sys

import msgspec

from device.agent.child import Child, Ended
from device.agent.effects import SelftestEnded, StartSelftest
from device.home import Home
from shared.clock import Clock
from shared.errors import RetryLaterError

SELFTEST_LIMIT_US = 180_000_000

_MOST = 200


class _Check(msgspec.Struct, frozen=True):
    name: str
    verdict: str
    detail: str = ""


class _Report(msgspec.Struct, frozen=True):
    passed: bool
    checks: tuple[_Check, ...]


class SelftestProcess:
    """The child, and for whom it runs; at most one at a time is the caller's business."""

    def __init__(self, home: Home, wanted: StartSelftest, clock: Clock) -> None:
        """Start to test the car of `home`; where no process is to be had, say so at `poll`."""
        self._wanted = wanted
        self._child: Child | None = None
        self._trouble = ""
        command = [sys.executable, "-m", "shared", "device", "selftest", "--json"]
        try:
            self._child = Child(
                [*command, "--home", str(home.root)], clock, limit_us=SELFTEST_LIMIT_US
            )
        except RetryLaterError as error:
            self._trouble = str(error)

    def poll(self) -> SelftestEnded | None:
        """Return the outcome, or None while the child is at work; ask no more after that."""
        if self._child is None:
            return self._ended("failed", self._trouble)
        ended = self._child.poll()
        return None if ended is None else self._ended(*outcome_of(ended))

    def stop(self) -> None:
        """End the child, if it runs."""
        if self._child is not None:
            self._child.stop()

    def _ended(self, outcome: str, reason: str) -> SelftestEnded:
        return SelftestEnded(
            actor=self._wanted.actor,
            number=self._wanted.number,
            passed=outcome == "done",
            reason=reason[:_MOST],
        )


def outcome_of(ended: Ended) -> tuple[str, str]:
    """Return "done" or "failed" and the line to answer with."""
    if ended.status is None:
        return "failed", f"no answer within {SELFTEST_LIMIT_US // 1_000_000} s"
    try:
        report = msgspec.json.decode(ended.said, type=_Report)
    except (msgspec.MsgspecError, RecursionError):
        return "failed", f"the self-test gave no report and ended {ended.status}"
    counts = [check.verdict for check in report.checks]
    if report.passed:
        return "done", f"{counts.count('pass')} passed, {counts.count('skip')} skipped"
    failed = [check for check in report.checks if check.verdict == "fail"]
    return "failed", "; ".join(f"{check.name}: {check.detail}" for check in failed)
