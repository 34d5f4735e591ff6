"""Settings: a person's mistakes, each in one line that names the place."""

from pathlib import Path

import msgspec
import pytest

from shared.errors import UsageError
from shared.settings import load, read_toml


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    depth: float = 0.5


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    port: int = 1
    rate_hz: float = 4.0
    name: str = "car"
    upload: bool = True
    inner: Inner = Inner()


def loaded(tmp_path: Path, text: str, **environ: str) -> Settings:
    path = tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return load(Settings, path, prefix="PARKFLEET_TEST", environ=environ)


def test_without_a_file_the_defaults_hold() -> None:
    assert load(Settings, None, prefix="PARKFLEET_TEST", environ={}) == Settings()


def test_the_environment_overrules_the_file(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        'port = 2\nname = "file"\n[inner]\ndepth = 1.5\n',
        PARKFLEET_TEST_PORT="3",
        PARKFLEET_TEST_UPLOAD="false",
        PARKFLEET_TEST_RATE_HZ="2.5",
        PARKFLEET_OTHER_NAME="ignored",
    )
    assert found == Settings(port=3, name="file", upload=False, rate_hz=2.5, inner=Inner(1.5))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("prot = 2", "toml: unknown key prot$"),
        ("[inner]\ndepht = 1.0", "toml: inner: unknown key depht$"),
        ('port = "many"', "toml: port: expected int, got str$"),
        ('[inner]\ndepth = "deep"', "toml: inner.depth: expected float, got str$"),
        ("rate_hz = nan", "not finite"),
        ("[inner]\ndepth = inf", "not finite"),
        ("port = ", "not valid TOML"),
        ("a = " + "[" * 20_000, "not valid TOML"),
    ],
)
def test_a_mistake_is_one_line_with_the_file_and_the_key(
    tmp_path: Path, text: str, what: str
) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        loaded(tmp_path, text)
    assert "settings.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mistake_in_the_environment_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="with PARKFLEET_TEST_PORT"):
        loaded(tmp_path, "", PARKFLEET_TEST_PORT="many")


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(UsageError, match="cannot read"):
            read_toml(path)
    (tmp_path / "latin.toml").write_bytes(b'a = "\xe4"')
    with pytest.raises(UsageError, match="not valid TOML"):
        read_toml(tmp_path / "latin.toml")
