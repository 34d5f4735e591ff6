"""What is estimated: the one place that knows that this is a distance in millimetres.

Nothing outside the parking controller may assume a car: another camera with another reference
sensor is another `Task`.
"""

import msgspec

from shared.ids import Name


class Task(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A quantity estimated from one picture.

    `low` and `high` bound the label, in `unit`; a model's output is scaled so that 0..1 covers
    them. Pictures are `picture_height` x `picture_width` x 3, RGB, uint8.
    """

    name: Name
    label: str
    unit: str
    low: float
    high: float
    picture_width: int
    picture_height: int

    @property
    def span(self) -> float:
        """The width of the label's range, in `unit`."""
        return self.high - self.low


WALL_DISTANCE = Task(
    name="wall-distance",
    label="distance",
    unit="mm",
    low=0.0,
    high=350.0,
    picture_width=100,
    picture_height=75,
)
"""Distance from the rear bumper to the wall behind it; range and size of the reference system."""
