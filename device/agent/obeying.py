"""Carries out operators' commands: what drive last said of itself, and an answer to each.

Laws:
- a command is answered exactly once for each time it comes: done, refused or failed, with a reason
  unless it was simply done; a self-test is answered when it ended;
- `stop` goes to drive before anything else is looked at;
- drive's word holds for three seconds: after that it counts as not there.
"""

import logging
from typing import Literal

from device.agent.commands import ARMED_US, CommandJudge, Situation, picture_keys
from device.agent.effects import Effect, Publish, SelftestEnded, StartSelftest, ToDrive
from device.agent.operators import OperatorKeys
from device.agent.presence import Presences
from device.agent.uploading import Uploading
from device.journal import Journal
from device.live import Live
from shared import codec
from shared.clock import Clock
from shared.errors import RefusedError
from shared.messages import Command, CommandResult
from shared.mqtt_events import Received
from shared.signing import VerifyKey, open_envelope_of
from shared.topics import COMMAND, RESULT

logger = logging.getLogger(__name__)

Outcome = Literal["done", "refused", "failed"]

_SILENCE_US = 3_000_000
_STANDING = frozenset({"idle", "stopped", "fault"})
"""The states of `device.parking` in which no manoeuvre is on."""


class Obeying:
    """The commands of one car."""

    def __init__(
        self,
        *,
        device: str,
        server_key: VerifyKey,
        operators: OperatorKeys,
        journal: Journal,
        uploading: Uploading,
        presences: Presences,
        clock: Clock,
    ) -> None:
        """Start knowing nothing of drive."""
        self._device = device
        self._server_key = server_key
        self._operators = operators
        self._journal = journal
        self._uploading = uploading
        self._presences = presences
        self._clock = clock
        self._judge = CommandJudge()
        self._live: Live | None = None
        self._heard_us = 0
        self._is_testing = False

    @property
    def drive_faults(self) -> tuple[str, ...]:
        """What drive says is wrong, while it says anything."""
        return self._live.faults if self._live and self._drive_answers() else ()

    def connected(self) -> None:
        """Forget the numbers used: commands name the connection."""
        self._judge = CommandJudge()

    def hear(self, live: Live) -> None:
        """Take what drive says of itself."""
        self._live = live
        self._heard_us = self._clock.monotonic_us()

    def command(self, message: Received, actor: str) -> list[Effect]:
        """Return what to do about a command on the topic of `actor`.

        Raises:
            RefusedError: it is neither the server's word to this car nor the operator's; nobody is
                answered.
            RetryLaterError: the journal does not answer now.
        """
        command, signer = open_envelope_of(
            COMMAND,
            message.payload,
            topic=message.topic,
            message_type=Command,
            keys=(self._server_key, *self._operators.of(actor)),
        )
        if (command.device, command.actor) != (self._device, actor):
            raise RefusedError(f"a command of {command.actor} for {command.device}")
        refusal = self._judge.judge(
            command, self._situation(), retained=message.retained, signer=signer.key_id
        )
        if not refusal and command.verb == "selftest" and self._is_testing:
            refusal = "a self-test is under way"
        logger.info(
            "command verb=%s actor=%s signer=%s refusal=%r",
            *(command.verb, actor, signer.key_id, refusal),
        )
        if refusal:
            return [self._answer(actor, command.number, "refused", refusal)]
        return self._obey(command)

    def selftest_ended(self, ended: SelftestEnded) -> list[Effect]:
        """Answer whoever asked for it."""
        self._is_testing = False
        outcome: Outcome = "done" if ended.passed else "failed"
        return [self._answer(ended.actor, ended.number, outcome, ended.reason)]

    def _obey(self, command: Command) -> list[Effect]:
        match command.verb:
            case "stop" | "park" | "identify":
                return [ToDrive(what=command.verb), self._done(command)]
            case "sync":
                self._uploading.hurry()
                return [self._done(command)]
            case "pictures":
                return self._pictures(command)
            case "selftest":
                self._is_testing = True
                return [StartSelftest(actor=command.actor, number=command.number)]

    def _pictures(self, command: Command) -> list[Effect]:
        reason = self._uploading.pictures_withheld
        found = 0
        if not reason:
            try:
                keys = picture_keys(command.arguments)
            except RefusedError as error:
                reason = str(error)
            else:
                found = self._journal.ask_for_pictures(keys)
                reason = f"{found} of {len(keys)} wait here and may leave; the rest was sent, "
                reason += "given up, or captured without consent"
        if not found:
            return [self._answer(command.actor, command.number, "refused", reason)]
        self._uploading.hurry()
        return [self._answer(command.actor, command.number, "done", reason)]

    def _situation(self) -> Situation:
        live, age_us = self._live, self._clock.monotonic_us() - self._heard_us
        answers = self._drive_answers()
        armed_us = live.armed_age_us if live else None
        return Situation(
            boot=self._presences.boot,
            connection=self._presences.connection,
            drive_answers=answers,
            is_moving=answers and live is not None and live.telemetry.state not in _STANDING,
            is_armed=answers and armed_us is not None and armed_us + age_us <= ARMED_US,
        )

    def _drive_answers(self) -> bool:
        age_us = self._clock.monotonic_us() - self._heard_us
        return self._live is not None and age_us <= _SILENCE_US

    def _done(self, command: Command) -> Publish:
        return self._answer(command.actor, command.number, "done")

    def _answer(self, actor: str, number: int, outcome: Outcome, reason: str = "") -> Publish:
        result = CommandResult(
            device=self._device,
            actor=actor,
            number=number,
            outcome=outcome,
            reason=reason[:200],
        )
        topic = RESULT.topic(id=self._device, actor=actor)
        return Publish(topic=topic, payload=codec.encode(result))
