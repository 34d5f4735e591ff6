"""What the car's camera and sensor are for: the task of its enrolment, parking where there is none.

Laws:
- it is read without any network code, since drive has none;
- whatever lies there, the car drives: a damaged enrolment is told of in the log and by the agent.
"""

import logging

import msgspec

from device.home import Home
from shared.task import WALL_DISTANCE, Task

logger = logging.getLogger(__name__)


class _Enrolled(msgspec.Struct, frozen=True):
    """The one field of `device.agent.enrolment.Enrolment` that concerns driving."""

    task: Task


def task_of(home: Home) -> Task:
    """Return the task that the car in `home` is enrolled for, or parking's."""
    try:
        return msgspec.json.decode(home.enrolment.read_bytes(), type=_Enrolled).task
    except FileNotFoundError:
        return WALL_DISTANCE
    except (OSError, msgspec.MsgspecError) as error:
        logger.warning("task_unknown file=%s error=%s", home.enrolment, error)
        return WALL_DISTANCE
