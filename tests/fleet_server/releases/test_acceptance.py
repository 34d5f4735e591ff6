"""What the server takes from a trainer, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tuf.api.metadata import Delegations, TargetFile, Targets

from fleet_server.releases import metadata
from fleet_server.releases.keys import signer
from shared.errors import RefusedError
from shared.ids import sha256_hex
from tests.fleet_server.releases.world import DAY_US, World, manifest, target

MODEL = b"the first model" * 10_000
OTHER = b"another model" * 10_000


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def offer(world: World, proposed: Targets, model: bytes = MODEL, role: str = "trainer-1") -> None:
    signed = metadata.sign(proposed, world.trainer())
    world.repository.accept(role=role, role_metadata=signed, model=model)


def refuse(world: World, reason: str, action: Callable[[], None]) -> None:
    """Assert that `action` is refused for `reason` and leaves the repository as it was."""
    before = world.repository.metadata_files()
    with pytest.raises(RefusedError, match=reason):
        action()
    assert world.repository.metadata_files() == before


def test_a_model_that_is_not_the_one_described_is_refused(world: World) -> None:
    proposed = world.proposal(target(MODEL, manifest(MODEL, 1)))
    refuse(world, "length|hash", lambda: offer(world, proposed, MODEL[:-1] + b"?"))


@pytest.mark.parametrize("size", [0, 16 * 1024 * 1024 + 1])
def test_a_model_of_no_or_too_much_length_is_refused(world: World, size: int) -> None:
    proposed = world.proposal(target(MODEL, manifest(MODEL, 1)))
    refuse(world, "model of", lambda: offer(world, proposed, bytes(size)))


@pytest.mark.parametrize("version", [1, 3, 99])
def test_only_version_n_plus_1_is_taken(world: World, version: int) -> None:
    proposed = world.proposal(target(MODEL, manifest(MODEL, 1)))
    proposed.version = version
    refuse(world, "only 2 is taken", lambda: offer(world, proposed))


def test_a_path_that_the_manifest_does_not_say_is_refused(world: World) -> None:
    path = "wall-distance/garage/other.tflite"
    proposed = world.proposal(target(MODEL, manifest(MODEL, 1), path=path))
    refuse(world, "its manifest says", lambda: offer(world, proposed))


def test_a_path_outside_the_delegation_is_refused(world: World) -> None:
    foreign = msgspec.structs.replace(manifest(MODEL, 1).task, name="parcel-weight")
    proposed = world.proposal(target(MODEL, manifest(MODEL, 1, task=foreign)))
    refuse(world, "may not sign for parcel-weight", lambda: offer(world, proposed))


def test_an_old_target_must_stay(world: World) -> None:
    old = world.release(MODEL, 1)
    proposed = world.proposal(target(OTHER, manifest(OTHER, 2)))
    del proposed.targets[old]
    refuse(world, "changed or left out", lambda: offer(world, proposed, OTHER))


def test_an_old_target_must_stay_unchanged(world: World) -> None:
    old = world.release(MODEL, 1)
    proposed = world.proposal(target(OTHER, manifest(OTHER, 2)))
    proposed.targets[old].unrecognized_fields["custom"]["release_seq"] = 7
    refuse(world, "changed or left out", lambda: offer(world, proposed, OTHER))


def test_one_new_target_at_a_time(world: World) -> None:
    none = world.proposal()
    two = world.proposal(
        target(MODEL, manifest(MODEL, 1)),
        target(OTHER, manifest(OTHER, 2)),
    )
    refuse(world, "0 new targets", lambda: offer(world, none))
    refuse(world, "2 new targets", lambda: offer(world, two))


@pytest.mark.parametrize("lower", [0, 4, 5])
def test_a_release_number_that_does_not_rise_is_refused(world: World, lower: int) -> None:
    world.release(MODEL, 5)
    proposed = world.proposal(target(OTHER, manifest(OTHER, lower)))
    refuse(world, "must be higher than 5", lambda: offer(world, proposed, OTHER))


def test_release_numbers_of_two_deployments_do_not_meet(world: World) -> None:
    world.release(MODEL, 5, deployment="garage")
    path = world.release(OTHER, 1, deployment="yard")
    assert world.repository.targets()[path].release_seq == 1


def test_a_release_number_beside_the_manifests_is_refused(world: World) -> None:
    new = target(MODEL, manifest(MODEL, 1))
    new.unrecognized_fields["custom"]["release_seq"] = 2
    refuse(world, "manifest says 1", lambda: offer(world, world.proposal(new)))


def test_another_signer_is_refused(world: World) -> None:
    proposed = world.proposal(target(MODEL, manifest(MODEL, 1)))
    foreign = metadata.sign(proposed, signer(b"\x07" * 32))
    refuse(
        world,
        "signed by 0/1 keys",
        lambda: _ignore(
            world.repository.accept(role="trainer-1", role_metadata=foreign, model=MODEL)
        ),
    )


@pytest.mark.parametrize("role", ["trainer-2", "targets", "snapshot", "../trainer-1", ""])
def test_a_role_that_nobody_delegated_to_is_refused(world: World, role: str) -> None:
    proposed = world.proposal(target(MODEL, manifest(MODEL, 1)))
    refuse(world, "delegated to no role", lambda: offer(world, proposed, role=role))


def test_metadata_of_another_kind_is_refused(world: World) -> None:
    snapshot = metadata.next_snapshot(None, {}, metadata.moment(world.clock.now_us))
    sent = metadata.sign(snapshot, world.trainer())
    refuse(
        world,
        "snapshot metadata where targets is wanted",
        lambda: _ignore(world.repository.accept(role="trainer-1", role_metadata=sent, model=MODEL)),
    )


def test_expired_metadata_is_refused(world: World) -> None:
    proposed = world.proposal(target(MODEL, manifest(MODEL, 1)))
    world.clock.now_us += 91 * DAY_US
    refuse(world, "expired", lambda: offer(world, proposed))


def test_a_trainer_delegates_to_nobody(world: World) -> None:
    proposed = world.proposal(target(MODEL, manifest(MODEL, 1)))
    proposed.delegations = Delegations(keys={}, roles={})
    refuse(world, "delegates further", lambda: offer(world, proposed))


def test_a_manifest_of_another_file_is_refused(world: World) -> None:
    described = manifest(OTHER, 1, sha256=sha256_hex(MODEL), size_bytes=len(MODEL) + 1)
    refuse(
        world,
        "another file's",
        lambda: offer(world, world.proposal(target(MODEL, described))),
    )


def test_wrong_digests_of_pieces_are_refused(world: World) -> None:
    new = target(MODEL, manifest(MODEL, 1))
    new.unrecognized_fields["custom"]["chunks"] = ["0" * 64]
    refuse(world, "pieces are wrong", lambda: offer(world, world.proposal(new)))


def test_a_digest_that_cars_do_not_check_is_refused(world: World) -> None:
    described = manifest(MODEL, 1)
    new = target(MODEL, described)
    new.hashes["md5"] = "0" * 32
    refuse(world, "no other digest", lambda: offer(world, world.proposal(new)))


def test_a_target_without_a_manifest_is_refused(world: World) -> None:
    bare = TargetFile.from_data("wall-distance/garage/x.tflite", MODEL, ["sha256"])
    refuse(world, "names no manifest", lambda: offer(world, world.proposal(bare)))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=400))
def test_any_bytes_as_metadata_are_refused_and_nothing_else(world: World, data: bytes) -> None:
    with pytest.raises(RefusedError):
        world.repository.accept(role="trainer-1", role_metadata=data, model=MODEL)


@pytest.mark.slow
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_change_of_one_byte_is_refused(world: World, data: st.DataObject) -> None:
    proposed = world.proposal(target(MODEL, manifest(MODEL, 1)))
    sent = bytearray(metadata.sign(proposed, world.trainer()))
    at = data.draw(st.integers(0, len(sent) - 1))
    before = bytes(sent)
    sent[at] ^= data.draw(st.integers(1, 255))
    # A signature is hexadecimal text: in capitals it is the same signature.
    assume(sent.lower() != before.lower())
    with pytest.raises(RefusedError):
        world.repository.accept(role="trainer-1", role_metadata=bytes(sent), model=MODEL)


def _ignore(_value: object) -> None:
    """Take a value that is not looked at."""
