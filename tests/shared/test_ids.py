"""Names that no path, topic filter or shell reads as syntax."""

from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import ids

CHECKS: list[tuple[Any, Any]] = [
    (ids.DeviceName, ids.is_device_name),
    (ids.Name, ids.is_name),
    (ids.Sha256, ids.is_sha256),
]
near = st.text(st.sampled_from("abz019-_.AZ/+#$ \n\0é"), max_size=70) | st.text(max_size=70)


def fits(text: str, kind: Any) -> bool:
    try:
        msgspec.convert(text, kind)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize(("kind", "check"), CHECKS)
@given(text=near | st.from_regex(r"[a-z0-9]{2,8}\n?", fullmatch=True))
def test_a_message_takes_exactly_the_names_that_the_check_takes(
    kind: Any, check: Any, text: str
) -> None:
    assert fits(text, kind) == check(text)


@given(text=near)
def test_a_device_name_is_no_syntax_anywhere(text: str) -> None:
    if ids.is_device_name(text):
        assert set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert not text.startswith("-")
        assert 2 <= len(text) <= 48


@given(text=near)
def test_a_name_stays_in_its_folder(text: str) -> None:
    if ids.is_name(text):
        assert not set(text) & set("/\\+#$ \n\0'\"")
        assert not text.startswith((".", "-"))


@given(counter=st.integers(0, 99_999_999), entropy=st.binary(min_size=4, max_size=4))
def test_boot_ids_are_ordered_by_their_counter(counter: int, entropy: bytes) -> None:
    made = ids.boot_id(counter, entropy)
    assert fits(made, ids.BootId)
    assert (int(made[:8]), bytes.fromhex(made[9:])) == (counter, entropy)
    if counter:
        assert ids.boot_id(counter - 1, b"\xff" * 4) < made


@pytest.mark.parametrize(
    ("counter", "entropy"), [(-1, b"abcd"), (100_000_000, b"abcd"), (1, b"abc"), (1, b"abcde")]
)
def test_a_boot_id_that_would_not_fit_is_our_bug(counter: int, entropy: bytes) -> None:
    with pytest.raises(ValueError, match="no boot id"):
        ids.boot_id(counter, entropy)


def test_the_end_of_a_pattern_is_the_end() -> None:
    kind = Annotated[str, msgspec.Meta(pattern="^a" + ids.END)]
    assert fits("a", kind)
    assert not fits("a\n", kind)


def test_the_digest_is_sha256() -> None:
    # FIPS 180-2, appendix B.1.
    assert ids.sha256_hex(b"abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
