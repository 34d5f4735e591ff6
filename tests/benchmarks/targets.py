"""What was promised, one line a target: the table that a report is read against.

Laws:
- a target stands here once, with the limit that was asked for; a report holds its figures against
  *this* limit, whatever the benchmark itself thinks;
- `figures` names them by a pattern that must match a check's whole name; where several match, the
  worst of them is the value reached;
- what only tests show names the test, and stands as such: no figure is made up for it.

Source: the "Shown by" lines of parts 1 to 8 of the plan.
"""

from dataclasses import dataclass
from typing import Final, Literal

Source = Literal["bench", "chaos", "evaluate", "demo", "tests"]

COMMANDS: Final[dict[Source, str]] = {
    "bench": "make bench",
    "chaos": "make chaos",
    "evaluate": "make evaluate",
    "demo": "make demo EXIT=1",
    "tests": "make test",
}

PARTS: Final = {
    1: "The whole loop",
    2: "The car and its laboratory",
    3: "The fleet server",
    4: "The trainer",
    5: "Delivery, trial, rollouts",
    6: "Drift and the closed loop",
    7: "The consoles",
    8: "Bare bounds, growth, bad days",
}

SECONDS: Final = "seconds of the whole run"
MISSED: Final = "figures that miss their limit"
"""Under these names a report's own running time, and its own judgement, are looked for."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One promise.

    `limit` is None where it lies in the figure itself (a sensor's own error, say). `in_readme` puts
    it into README's main table. `figures` is a test's path where `source` is "tests".
    """

    part: int
    name: str
    source: Source
    figures: str
    limit: float | None = None
    better: Literal["lower", "higher"] = "lower"
    unit: str = ""
    in_readme: bool = False


def _row(
    part: int,
    name: str,
    figures: str,
    limit: float | None = None,
    unit: str = "",
    *,
    source: Source = "bench",
    least: bool = False,
    readme: bool = False,
) -> Target:
    return Target(
        part=part,
        name=name,
        source=source,
        figures=figures,
        limit=limit,
        better="higher" if least else "lower",
        unit=unit,
        in_readme=readme,
    )


def _test(part: int, name: str, path: str) -> Target:
    return _row(part, name, f"tests/{path}", source="tests")


_LOOP: Final = (
    _row(1, "demonstration, from start to report", "whole demonstration", 300, "s", source="demo"),
    _row(1, "pairs lost or doubled in the demonstration", "pairs lost or doubled", 0,
         source="demo"),
    _row(1, "error on the red floor over the first model's",
         "error on the red floor over the first model's", 2, "x", source="demo", least=True),
    _row(1, "error after retraining over the first model's",
         r"error, (retrained|caught up), over the first model's", 1.3, "x", source="demo"),
    _test(1, "broker, server, agent killed: counts equal",
          "e2e/test_nothing_lost_nothing_twice.py"),
    _test(1, "a car with no network parks", "e2e/test_offline.py"),
)  # fmt: skip

_CAR: Final = (
    _row(2, "stop off the target by camera, known settings, p95 of 200",
         "known scenes: stop off the target, p95", 8, "mm", readme=True),
    _row(2, "heading change with motors 5 % unequal, largest",
         "known scenes: heading change, .*", 2, "degrees"),
    _row(2, "touches of the wall in 200 manoeuvres in settings the model does not know",
         "unknown scenes: contacts", 0, readme=True),
    _row(2, "of those, moved 100 mm or more and ended with a reason",
         "unknown scenes: moved .*", 0.9, "of all", least=True),
    _row(2, "p99 jitter of the 30 Hz loop above a bare one, while syncing",
         "p99 jitter of the control loop above a bare one, syncing", 1, "ms", readme=True),
    _row(2, "the same while a model is swapped",
         "p99 jitter of the control loop above a bare one, swapping", 1, "ms", readme=True),
    _row(2, "frames that a swap costs", "turns lost while models are swapped, .*", 0),
    _row(2, "frame to estimate over bare resize and `invoke`",
         "frame to estimate, over bare resize and invoke", 1.25, "x", readme=True),
    _row(2, "motors off after a killed drive, longest of 20",
         "motors off after kill, .*", 200, "ms", readme=True),
    _row(2, "committed pairs lost or doubled in 200 kills of drive and agent",
         "kills: (committed pairs lost .*|pairs doubled)", 0, source="chaos", readme=True),
    _test(2, "24 simulated hours offline, memory within 10 %", "device/agent/test_day_offline.py"),
    _test(2, "both runtimes agree within two steps", "contracts/test_runtimes.py"),
    _test(2, "Adafruit's own driver on the simulated bus", "contracts/test_vl53l0x_driver.py"),
    _row(2, "renderer, pictures a second on one core, slowest scene",
         "pictures a second, .*", 1, "thousand", least=True),
    _row(2, "1,000 cars in one process, faster than real time",
         r"\d+ cars, .* lost: faster than real time", 10, "x", least=True, readme=True),
    _test(2, "recorded pictures through a car to a training",
          "e2e/test_recordings_and_fleets.py"),
)  # fmt: skip

_SERVER: Final = (
    _test(3, "schemathesis over every endpoint", "fleet_server/api/test_contract.py"),
    _test(3, "rights: 401 without a token, 403 with too small a role",
          "fleet_server/api/test_rights.py"),
    _row(3, 'ingest through MQTT over a bare loop "decode, hash, insert, commit"',
         "ingest through MQTT, over a bare loop: .*", 0.6, "x", least=True, readme=True),
    _row(3, "the same over many stored rows, over an empty database",
         r"ingest at \d+ stored rows, over that of an empty database", 0.9, "x", least=True,
         readme=True),
    _row(3, "slowest p99 of the main listings over REST",
         r"slowest p99 of the main listings over REST at \d+ rows", 50, "ms", readme=True),
    _row(3, "acknowledged pairs lost or rows doubled in 250 kills of the server during ingest",
         "server kills: (pairs acknowledged and lost|rows doubled)", 0, source="chaos",
         readme=True),
    _test(3, "a captured broker's forgeries are refused", "e2e/test_captured_broker.py"),
    _test(3, "storage contract on SQLite, PostgreSQL + S3", "contracts/test_storage.py"),
    _test(3, "A as B, by every way, on both brokers", "contracts/test_brokers.py"),
    _row(3, "the others' p99 receipt while one car sends 100 times its quota",
         "p99 receipt of five cars while a sixth sends .*", 2, "x", readme=True),
    _row(3, "longest refusal of bad input", "longest refusal of .*", 50, "ms", readme=True),
    _row(3, "memory grown over thousands of refusals", "memory grown over .* refusals", 32, "MiB"),
    _test(3, "every question of lineage, one call each", "fleet_server/api/test_lineage.py"),
)  # fmt: skip

_TRAINER: Final = (
    _row(4, "int8 error on beige against the truth, worst seed",
         "error on beige, against the truth", 3, "mm", readme=True),
    _row(4, "the same against the range sensor", "error on beige, against the range sensor",
         unit="mm"),
    _row(4, "one and two sigma off what they should cover", ".* sigma, on held-out .* off", 0.05),
    _row(4, "four search trials on 2,000 pictures to a signed version",
         "a search of 4 trials on 2000 pictures, to a signed version", 150, "s", readme=True),
    _row(4, "that search over its trials fitted one by one",
         "time of the search beside its trials fitted one after the other", 0.5, "x", readme=True),
    _row(4, "held-out error of the search's best over theirs",
         "held-out error of the search's best beside theirs", 1.05, "x"),
    _test(4, "`reproduce` to the byte; one step again", "trainer/test_looking_back.py"),
    _row(4, "error on recorded flights, held out, over kernel ridge regression",
         "error on held-out flights beside kernel ridge regression", 1, "x"),
    _row(4, "jobs of killed workers that did not end in one model",
         "jobs that did not end in exactly one registered model", 0, source="chaos"),
)  # fmt: skip

_DELIVERY: Final = (
    _test(5, "attacks on the real update client", "device/agent/test_attacks.py"),
    _test(5, "a power cut at every state and file operation", "device/update/test_power_cuts.py"),
    _test(5, "trials: equals, better and worse models", "device/update/test_trial_statistics.py"),
    _row(5, "control messages to a car in a stage",
         "canary of .*: control messages to a car in a stage", 10),
    _row(5, "the model's bytes that the server sends, however many cars",
         "canary of .*: bytes of the model sent by the server in a connection", unit="B"),
    _row(5, "moves of the rollout against its gate", "canary of .*: moves against the gate", 0),
    _row(5, "cars whose loaded digest is not known", "canary of .*: cars (whose|that loaded) .*",
         0),
    _test(5, "all five strategies, end to end", "rollouts/test_canary.py"),
    _test(5, "2 MB through ten interruptions, at most 5 % more", "rollouts/test_wire.py"),
)  # fmt: skip

_DRIFT: Final = (
    _row(6, "false alarms in 1,000 manoeuvres without a change",
         "false alarms in a thousand manoeuvres", 5, readme=True),
    _row(6, "manoeuvres to the alarm at an error of 30 mm", "manoeuvres to the alarm at 30 mm", 3,
         readme=True),
    _row(6, "manoeuvres to the alarm at 13 mm", "manoeuvres to the alarm at 13 mm", 12),
    _row(6, "causes of 100 changes named right", "causes named right", 0.95, "of all", least=True,
         readme=True),
    _row(6, "faulty sensors named", "faulty sensors named", 0.95, "of all", least=True),
    _row(6, "trained on a suspected sensor's labels, or without harm",
         "trained for sensors or without harm", 0),
    _row(6, "every phase of the reference evaluation: error after the loop",
         r"phase \d+, error after", unit="mm", source="evaluate"),
    _row(6, "the same: error before over the last", r"phase \d+, error before over the last", 2,
         "x", source="evaluate", least=True),
    _row(6, "the same: old settings again", r"phase \d+, .* again", unit="mm", source="evaluate"),
    _row(6, "from the red floor to the better model on the cars, by itself",
         "phase 5, from the change to the better model loaded", 240, "s", source="evaluate"),
    _row(6, "samples a second through the drift code, one core", "through the drift code", 20_000,
         "a second", least=True, readme=True),
    _row(6, "memory of a car in it, late over early", "memory of a car, late over early", 1.1, "x"),
    _row(6, "the whole evaluation", SECONDS, 1800, "s", source="evaluate"),
)  # fmt: skip

_CONSOLES: Final = (
    _row(7, "fleet page with 10,000 cars, slowest p95", r"fleet page with \d+ cars, slowest p95",
         300, "ms", readme=True),
    _row(7, "ten open browsers add to the server", "ten open browsers add to the server", 300,
         "MB"),
    _row(7, "live figures behind the car, p95", "live figures behind the car, p95", 500, "ms",
         readme=True),
    _test(7, "every page in a real browser, axe-core, rights", "fleet_server/console/test_page.py"),
    _test(7, "terminal console, server stopped", "e2e/test_console.py"),
)  # fmt: skip

_GROWTH: Final = (
    _row(8, "our int8 model over MobileNetV2 0.35 int8, bare, in the worse runtime",
         ".*: our model over .*, bare", 1, "x"),
    _row(8, "frame to estimate over bare, every model and runtime",
         ".*: frame to estimate over bare, .*", 1.25, "x"),
    _row(8, "a batch into bytes and back over JSON", "wire codec there and back, over JSON", 1,
         "x", readme=True),
    _row(8, "the same over CBOR, which checks nothing", "wire codec there and back, over CBOR", 1.5,
         "x"),
    _row(8, "a manoeuvre into the journal over bare SQLite",
         "a manoeuvre into the journal, over bare SQLite", 2, "x", readme=True),
    _row(8, "memory of drive and agent over bare processes that import the same",
         "memory of .* over a bare process that imports the same", 2, "x", readme=True),
    _row(8, "the same while the car drives and syncs, late over early",
         "memory of (drive|agent), late over early", 1.1, "x"),
    _row(8, "a backlog sent and receipted, sooner than it was logged",
         "backlog of .* minutes, sooner than logged", 100, "x", least=True, readme=True),
    _row(8, "exponent of its seconds over its pairs", "backlog: exponent .*", 1.15),
    _row(8, "pairs with pictures a second over one HTTP request a picture, the reference's way",
         "pairs with pictures in batches, over one HTTP request a picture", 2, "x", least=True,
         readme=True),
    _row(8, "exponent of ingest's seconds over stored rows", "ingest: exponent of .*", 0.05),
    _row(8, "bytes of a model that the server says, over its own, to 1,000 cars",
         "a model to .* cars: bytes that the server says of it, over its own", 1.05, "x",
         readme=True),
    _row(8, "exponent of a model's seconds over cars", "fan-out: exponent of seconds over cars",
         1.15),
    _row(8, "a model to 1,000 cars at once over bare fan-out",
         "a model to .* cars, over bare fan-out of the same bytes", 40, "x"),
    _row(8, "p99 receipt with 10,000 cars connected, over that without them",
         r"\d+ connected cars: p99 receipt, .*", 3, "x", readme=True),
    _row(8, "memory of broker and server a connected car",
         r"\d+ connected cars: memory of broker and server a car", 64, "KiB", readme=True),
    _row(8, "connected cars that the server does not know as they are",
         r"\d+ connected cars: not known as they are", 0, "cars"),
    _row(8, "exponent of the server's time over connected cars",
         "presence: exponent of the server's time over cars", 1.15),
    _row(8, "committed pairs lost or doubled, whatever the misfortune",
         "[a-z ]+: (committed (pairs|rows) lost.*|pairs doubled|rows doubled)|rows doubled", 0,
         source="chaos"),
    _row(8, "journals, databases and disks found unsound",
         "([a-z ]+: )?(journals|databases|disks|journals and databases) found unsound", 0,
         source="chaos"),
    _row(8, "cars without a model that loads, after a power cut at every operation",
         "power: cars without a model that loads", 0, source="chaos"),
    _row(8, "a damaged message crashes a decoder, in a million cases", "decoder crashes", 0,
         source="chaos", readme=True),
    _row(8, "damaged messages that decoders were given", "damaged messages tried", 1_000_000,
         source="chaos", least=True),
    _row(8, "the next message served after poison", "poison: next .*", 1, "s", source="chaos"),
    _row(8, "500 cars that reconnect at once, all synced",
         r"herd: \d+ cars all synced after .*", 120, "s", source="chaos", readme=True),
    _row(8, "memory slope of drive, agent, server, broker in a soak",
         "soak: memory slope of .*", 2, "MiB a minute", source="chaos"),
    _row(8, "figures of `make chaos` that miss their limit", MISSED, 0, source="chaos"),
    _row(8, "figures of `make evaluate` that miss their limit", MISSED, 0, source="evaluate"),
)  # fmt: skip

TARGETS: Final = (*_LOOP, *_CAR, *_SERVER, *_TRAINER, *_DELIVERY, *_DRIFT, *_CONSOLES, *_GROWTH)
