"""The phases of the reference evaluation: what changes in each, and what is to come of it.

The first five are those of the reference (M. B. Fassian, "End-to-End MLOps", 2025), with its mean
errors. The others ask what a fleet meets beside them: what changes and does not hurt, a range
sensor that goes wrong at once or little by little, a camera that was mounted anew, cars on
different floors under one model.

Laws:
- a phase is a row of `PHASES`; what is done in each is the same for all of its kind;
- nothing here is measured: figures are the reference's own, and limits are the report's.
"""

from dataclasses import dataclass
from typing import Final, Literal

Expected = Literal["retrain", "check-sensor", "nothing"]

CARS: Final = ("car-1", "car-2")


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A change: the scene (a shipped one's tables with `extra` ones), and what is to come of it.

    `steps` are such tables, one after the other in place of `extra`, for what changes little by
    little. `floors` are the scenes of a mixed fleet's cars in their order. `cause` is the class
    that the change truly belongs to, `causes` what may be named. `is_attended`: an operator answers
    "check the sensor", which is right here, by hand. `moves_to`: the deployment that the operator
    moves the cars to once the cause is named, since what was learned before is over. `before_mm`
    and `after_mm` are the reference's mean errors, None where it had none.
    """

    number: int
    title: str
    scene: str
    extra: str = ""
    steps: tuple[str, ...] = ()
    floors: tuple[str, ...] = ()
    cause: str = "none"
    causes: tuple[str, ...] = ()
    expected: Expected = "retrain"
    before_mm: float | None = None
    after_mm: float | None = None
    is_attended: bool = True
    moves_to: str = ""
    is_quick: bool = True

    @property
    def setting(self) -> str:
        """A name for the setting."""
        return f"{self.number}-{self.scene}"


def _offset(by_mm: float) -> str:
    return f"[range_sensor]\noffset_mm = {by_mm}\n"


PHASES: Final = (
    Phase(
        number=1, title="beige floor, range to 250 mm", scene="beige", after_mm=6.85,
        extra="[approach]\nstart_mm = [220.0, 250.0]\n",
    ),
    Phase(
        number=2, title="range extended to 350 mm", scene="beige", cause="label",
        causes=("label-shift",), before_mm=19.0, after_mm=4.83,
    ),
    Phase(
        number=3, title="green floor", scene="green", cause="covariate",
        causes=("covariate-shift",), before_mm=178.0, after_mm=15.5, is_quick=False,
    ),
    Phase(
        number=4, title="approach at 30 degrees", scene="angled-30", cause="covariate",
        causes=("covariate-shift", "concept-or-sensor"), before_mm=30.0, after_mm=12.9,
        is_quick=False,
    ),
    Phase(
        number=5, title="red floor, no human hand", scene="red", cause="covariate",
        causes=("covariate-shift",), before_mm=45.5, after_mm=6.17, is_attended=False,
    ),
    Phase(
        number=6, title="focus shift", scene="beige", expected="nothing",
        extra="[camera]\nfocus_blur_px = 1.0\n",
    ),
    Phase(number=7, title="dusk", scene="beige-dim", expected="nothing", is_quick=False),
    Phase(
        number=8, title="range sensor off by 15 mm", scene="beige", expected="check-sensor",
        cause="concept-or-sensor", causes=("concept-or-sensor",), extra=_offset(15.0),
    ),
    Phase(
        number=9, title="range sensor drifts to 24 mm", scene="beige", expected="check-sensor",
        cause="concept-or-sensor", causes=("concept-or-sensor", "sensor-scaled"), is_quick=False,
        steps=tuple(_offset(float(by_mm)) for by_mm in range(3, 25, 3)),
    ),
    Phase(
        number=10, title="five cars on three floors", scene="mixed", expected="nothing",
        floors=("beige", "beige", "green", "green", "red"), is_quick=False,
    ),
    Phase(
        number=11, title="camera remounted, 3.5 degrees lower", scene="beige",
        cause="concept-or-sensor", extra="[camera]\ntilt_deg = 28.5\n", is_quick=False,
        causes=("covariate-shift", "concept-or-sensor", "sensor-scaled"), moves_to="remounted",
    ),
)  # fmt: skip


def chosen(*, quick: bool, until: int) -> tuple[Phase, ...]:
    """Return the phases of a run: up to the number `until`, of a quick one the quick ones."""
    return tuple(
        phase for phase in PHASES if phase.number <= until and (phase.is_quick or not quick)
    )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is driven, in manoeuvres a car: two cars with 22 pairs each make some 500 pairs.

    `learn` by the range sensor before there is a model, `measure` before and after each change,
    `again` in each setting that was learned before; `calm` until what was mended is over.
    """

    learn: int = 14
    measure: int = 12
    again: int = 6
    calm: int = 10
    seed: int = 1

    @property
    def server_settings(self) -> dict[str, str]:
        """What the server must know: a small fleet's numbers of pairs, and a short cool-down."""
        return {
            "PARKFLEET_SERVER_FIRST_TRAINING_PAIRS": str(self.learn * len(CARS) * 14),
            "PARKFLEET_SERVER_RETRAIN_PAIRS": str(self.measure * len(CARS) * 12),
            "PARKFLEET_SERVER_RETRAIN_COOL_DOWN_S": "10",
        }


QUICK: Final = Plan(learn=10, measure=8, again=4, calm=9)
