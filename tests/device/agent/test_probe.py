"""Trying a model before it is used, in this process and in the child."""

import random
import shutil
import signal
from pathlib import Path

import msgspec
import pytest

from device.agent import probe
from device.agent.probe import ProbeProcess, Verdict, try_model
from device.agent.shell import Shell
from device.home import Home
from device.update import saved as update
from device.update.probation import LATENCY_LIMIT_US
from shared.clock import SystemClock
from shared.errors import RetryLaterError
from shared.ids import sha256_hex
from shared.manifest import Manifest
from tests.device.agent.world import SECOND, Fleet, SettableClock, enrolled_home
from tests.device.fakes import DATA, TINY

pytestmark = pytest.mark.slow

MODEL = DATA / "tiny.tflite"
MODELS = Path(__file__).parents[2] / "golden" / "models"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "car")
    made.create()
    shutil.copy(MODEL, made.model(TINY.sha256))
    shutil.copy(DATA / "tiny.json", made.manifest(TINY.sha256))
    return made


def finish(process: ProbeProcess) -> Verdict:
    clock = SystemClock()
    while (verdict := process.poll()) is None:
        clock.sleep_until_us(clock.monotonic_us() + 20_000)
    assert process.poll() == verdict
    return verdict


def test_a_good_model_passes_with_evidence() -> None:
    verdict = try_model(MODEL, DATA / "tiny.json", SystemClock())
    assert verdict.reason == ""
    assert verdict.evidence["pictures"] == 5
    assert 0 <= verdict.evidence["estimate_low"] < verdict.evidence["estimate_high"] <= 350.1


def test_a_model_that_answers_as_it_did_where_it_was_made_passes_and_another_is_refused(
    home: Home,
) -> None:
    golden = MODELS / "two-floors.golden.json"
    model = MODELS / "two-floors.tflite"
    good = try_model(model, golden, SystemClock())
    assert good.reason == ""
    assert good.evidence["golden_pictures"] == 8
    assert good.evidence["golden_steps"] <= 2
    told = Manifest.from_json(golden.read_bytes())
    assert told.golden is not None
    value = (told.golden.value[0] + 3, *told.golden.value[1:])
    other = msgspec.structs.replace(told, golden=msgspec.structs.replace(told.golden, value=value))
    home.manifest(told.sha256).write_text(other.to_json())
    bad = try_model(model, home.manifest(told.sha256), SystemClock())
    assert bad.reason.startswith("not its trainer's answers: 8 golden pictures, value at most 3")
    assert bad.evidence["golden_steps"] == pytest.approx(3, abs=0.01)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("nan", "answered nan"),
        ("constant", "the same estimate for every picture"),
        ("shape", "tensor"),
    ],
)
def test_a_model_that_is_signed_but_bad_is_refused(home: Home, kind: str, reason: str) -> None:
    model, manifest = DATA / f"bad-{kind}.tflite", DATA / f"bad-{kind}.json"
    if kind == "shape":
        # Its worker signs what cars ask for, and sends what they cannot feed.
        described = Manifest.from_json(manifest.read_bytes())
        lying = msgspec.structs.replace(described, input=TINY.input)
        manifest = home.manifest(described.sha256)
        manifest.write_text(lying.to_json())
    assert reason in try_model(model, manifest, SystemClock()).reason


def test_a_model_ten_times_slower_than_allowed_is_refused() -> None:
    """The budget is set between the two, so that this holds on any machine."""
    quick = try_model(MODEL, DATA / "tiny.json", SystemClock())
    budget_us = max(quick.evidence["latency_median_us"], 1.0) * 10
    assert try_model(MODEL, DATA / "tiny.json", SystemClock(), limit_us=budget_us).reason == ""
    slow = DATA / "bad-slow.tflite"
    verdict = try_model(slow, DATA / "bad-slow.json", SystemClock(), limit_us=budget_us)
    assert "an estimate takes" in verdict.reason


def test_a_slow_model_is_refused(home: Home) -> None:
    class SlowClock(SettableClock):
        def monotonic_us(self) -> int:
            self.now_us += SECOND
            return self.now_us

    verdict = try_model(MODEL, home.manifest(TINY.sha256), SlowClock())
    assert "an estimate takes" in verdict.reason


@pytest.mark.parametrize("field", ["input", "value", "log_sigma"])
def test_a_model_with_other_tensors_than_its_manifests_is_refused(home: Home, field: str) -> None:
    tensor = msgspec.structs.replace(getattr(TINY, field), zero_point=3)
    other = msgspec.structs.replace(TINY, **{field: tensor})
    home.manifest(TINY.sha256).write_text(other.to_json())
    assert try_model(MODEL, home.manifest(TINY.sha256), SystemClock()).reason


def test_rubbish_and_missing_files_are_refused(home: Home) -> None:
    rubbish = b"TFL3" * 300
    home.model(TINY.sha256).write_bytes(rubbish)
    described = msgspec.structs.replace(TINY, sha256=sha256_hex(rubbish), size_bytes=len(rubbish))
    home.manifest(TINY.sha256).write_text(described.to_json())
    model, manifest = home.model(TINY.sha256), home.manifest(TINY.sha256)
    assert "does not load" in try_model(model, manifest, SystemClock()).reason
    manifest.write_text("{}")
    assert try_model(model, manifest, SystemClock()).reason
    manifest.unlink()
    assert try_model(model, manifest, SystemClock()).reason


def damaged(seed: int) -> tuple[bytes, Manifest]:
    """Return a real model with up to eight wrong bytes in its structure, and a manifest for it."""
    rng, content = random.Random(seed), bytearray((MODELS / "two-floors.tflite").read_bytes())
    for _ in range(rng.randint(1, 8)):
        place = rng.choice([rng.randrange(2_000), len(content) - 1 - rng.randrange(6_000)])
        content[place] = rng.randrange(256)
    told = Manifest.from_json((MODELS / "two-floors.golden.json").read_bytes())
    return bytes(content), _of(told, bytes(content))


def _of(told: Manifest, content: bytes) -> Manifest:
    return msgspec.structs.replace(told, sha256=sha256_hex(content), size_bytes=len(content))


def put(home: Home, content: bytes, manifest: Manifest) -> None:
    home.model(manifest.sha256).write_bytes(content)
    home.manifest(manifest.sha256).write_text(manifest.to_json())


def test_what_is_left_of_a_damaged_model_that_was_signed_so_answers_as_its_trainer_or_not_at_all(
    home: Home,
) -> None:
    """Its digest is right: whoever signed it signed the damage."""
    reasons = []
    for seed in (*range(24), 152, 319, 375):
        content, manifest = damaged(seed)
        put(home, content, manifest)
        model = home.model(manifest.sha256)
        verdict = try_model(model, home.manifest(manifest.sha256), SystemClock())
        reasons.append(verdict.reason)
        if not verdict.reason:
            assert verdict.evidence["golden_steps"] <= 2
    assert sum(map(bool, reasons)) > 12
    # The last three load, and only running them shows the damage.
    assert any("does not run" in reason for reason in reasons)


@pytest.mark.e2e
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_the_child_refuses_what_is_left_of_a_model_that_was_cut_and_signed_so(
    home: Home, share: float
) -> None:
    whole = (MODELS / "two-floors.tflite").read_bytes()
    content = whole[: int(len(whole) * share)]
    manifest = _of(Manifest.from_json((MODELS / "two-floors.golden.json").read_bytes()), content)
    put(home, content, manifest)
    assert finish(ProbeProcess(home, manifest.sha256, SystemClock())).reason


@pytest.mark.e2e
def test_the_child_passes_a_good_model(home: Home) -> None:
    verdict = finish(ProbeProcess(home, TINY.sha256, SystemClock()))
    assert verdict.reason == ""
    assert verdict.evidence["latency_median_us"] < LATENCY_LIMIT_US


@pytest.mark.e2e
def test_the_child_refuses_a_bad_model(home: Home) -> None:
    home.model(TINY.sha256).write_bytes(b"nonsense")
    assert "damaged" in finish(ProbeProcess(home, TINY.sha256, SystemClock())).reason


@pytest.mark.e2e
def test_a_child_that_crashes_refuses_the_model(home: Home) -> None:
    process = ProbeProcess(home, TINY.sha256, SystemClock())
    process.child.process.send_signal(signal.SIGSEGV)
    assert "signal 11" in finish(process).reason


@pytest.mark.e2e
def test_a_child_that_does_not_end_refuses_the_model(home: Home) -> None:
    clock = SettableClock()
    process = ProbeProcess(home, TINY.sha256, clock)
    process.child.process.send_signal(signal.SIGSTOP)
    assert process.poll() is None
    clock.now_us += probe.PROBE_LIMIT_US
    assert "no answer within" in finish(process).reason


def test_the_module_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main([]) == 2
    assert "MODEL MANIFEST" in capsys.readouterr().err


def test_a_machine_that_gives_no_process_says_nothing_about_the_model(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(home.root / "missing"))
    with pytest.raises(RetryLaterError, match="cannot start a process"):
        ProbeProcess(home, TINY.sha256, SystemClock())


def test_an_agent_whose_probe_does_not_start_lives_on_and_tries_again(
    tmp_path: Path, fleet: Fleet, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    car = enrolled_home(tmp_path / "enrolled", fleet)
    shell = Shell(car, clock)
    journal, manifest = shell.journal, DATA / "tiny.json"
    shutil.copy(MODEL, car.model(TINY.sha256))
    shutil.copy(manifest, car.manifest(TINY.sha256))
    journal.set_update_state(
        update.dump(update.Saved(state="probing", target="t", model=TINY.sha256, probes=1))
    )
    shell.close()
    with monkeypatch.context() as broken:
        broken.setattr("sys.executable", str(tmp_path / "missing"))
        shell = Shell(car, clock)
        shell.start()
        shell.step(0.0)
    assert update.load(shell.journal.update_state()).state == "probing"
    clock.now_us += 11 * SECOND
    while shell.journal.active_model() is None:
        shell.step(0.05)
    assert shell.journal.active_model() == TINY.sha256
    shell.close()
