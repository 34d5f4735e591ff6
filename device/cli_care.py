"""The commands with which a person looks after a car: calibrate, export, selftest."""

from pathlib import Path

import click

from device.cli_options import backend_option, home_option
from device.home import Home
from shared.cli import emit, json_option
from shared.errors import UsageError


@click.command(
    epilog="Example: parkfleet device calibrate --home var/device --backend sim --distance 350"
)
@home_option
@backend_option
@click.option(
    "--distance",
    "distance_mm",
    type=click.FloatRange(min=10, max=1500),
    required=True,
    help="Millimetres from the bumper to the wall, measured with a ruler.",
)
@click.option(
    "--sensor-to-bumper",
    "sensor_to_bumper_mm",
    type=click.FloatRange(min=-300, max=300),
    default=0.0,
    show_default=True,
    help="Millimetres that the sensor sits behind the bumper; negative: in front of it.",
)
@click.option(
    "--readings",
    type=click.IntRange(min=20, max=2000),
    default=100,
    show_default=True,
    help="Readings to take of the standing car.",
)
@json_option
def calibrate(
    home_folder: Path,
    *,
    backend: str | None,
    distance_mm: float,
    sensor_to_bumper_mm: float,
    readings: int,
    as_json: bool,
) -> None:
    """Measure the range sensor's offset before a wall at a known distance, and keep it.

    In force from the next start of drive on; every sample names the calibration it was made under.
    """
    from device import calibration
    from device.drive.loop import only_one
    from device.hardware import open_instruments, require_backend

    home = Home(home_folder)
    settings = home.settings()
    chosen = backend or settings.backend
    require_backend(chosen)
    home.create()
    with only_one(home):
        car = open_instruments(chosen, home.hardware(settings))
        try:
            taken = calibration.measure(car, readings)
            utc_us = car.clock.utc_us()
        finally:
            car.close()
        found = calibration.calibrate(
            taken,
            number=calibration.next_number(home),
            distance_mm=distance_mm,
            sensor_to_bumper_mm=sensor_to_bumper_mm,
            utc_us=utc_us,
        )
        file = calibration.store(home, found)
    text = (
        f"{found.name}: the sensor adds {found.range_offset_mm:+.1f} mm and sits "
        f"{found.sensor_to_bumper_mm:.1f} mm behind the bumper; noise {found.noise_mm:.1f} mm over "
        f"{found.readings} readings\nkept in {file}; restart drive to use it"
    )
    emit(found, as_json=as_json, text=text)


@click.command(epilog="Example: parkfleet device selftest --home var/device --backend sim")
@home_option
@backend_option
@click.option("--move", "moves", is_flag=True, help="Turn both wheels: lift them first.")
@json_option
def selftest(home_folder: Path, *, backend: str | None, moves: bool, as_json: bool) -> int:
    """Test every instrument, the model, disk, clock and broker; exit code 1 where one fails."""
    from device.hardware import open_instruments, require_backend
    from device.selftest import selftest as test
    from shared.clock import SystemClock

    home = Home(home_folder)
    settings = home.settings()
    chosen = backend or settings.backend
    require_backend(chosen)
    home.create()
    report = test(
        home,
        settings,
        SystemClock(),
        lambda: open_instruments(chosen, home.hardware(settings)),
        moves=moves,
    )
    width = max(len(check.name) for check in report.checks)
    lines = [f"{c.verdict}  {c.name:<{width}}  {c.detail}" for c in report.checks]
    emit(report, as_json=as_json, text="\n".join(lines))
    return 0 if report.passed else 1


@click.command(epilog="Example: parkfleet device export --home var/device --out recorded/car")
@home_option
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="A new or empty folder.",
)
@json_option
def export(home_folder: Path, *, out: Path, as_json: bool) -> None:
    """Write the journal as images/ with labels.csv, and as Parquet where pyarrow is installed."""
    from device.export import export as write
    from device.journal import Journal

    home = Home(home_folder)
    if not home.journal.exists():
        raise UsageError(f"no car in {home.root}: start one with `parkfleet device drive`")
    journal = Journal.open_to_look(home.journal)
    try:
        done = write(journal, out)
    finally:
        journal.close()
    left = ", ".join(f"{count} {what}" for what, count in sorted(done.left_out.items()))
    table = done.table or "no Parquet: pip install 'parkfleet[parquet]'"
    text = f"{done.pairs} pairs in {done.folder} ({table})" + (
        f"; left out: {left}" if left else ""
    )
    emit(done, as_json=as_json, text=text)
