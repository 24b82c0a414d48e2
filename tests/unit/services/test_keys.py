"""Keys that their organisation revokes: nothing new is signed with them, and what they signed stays signed."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from livinglab.domain.access import PublicKey
from livinglab.domain.errors import Conflict, NotFound
from livinglab.domain.run import RunState
from livinglab.evidence.policy import TrustPolicy
from livinglab.evidence.verify import verify
from livinglab.testing.fakes import FakeClock
from tests.unit.services.test_engine import World, make_world, trusted


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path, {})


def own(world: World) -> PublicKey:
    (key,) = world.lab.access.keys(world.participant)
    return key


def later(world: World) -> None:
    assert isinstance(world.lab.clock, FakeClock)
    world.lab.clock.advance(timedelta(days=1))


def test_a_key_is_revoked_once(world: World) -> None:
    key = own(world)
    assert key.revoked_at is None
    later(world)
    revoked = world.lab.access.revoke_key(world.participant, key.key_id)
    assert revoked.revoked_at
    assert revoked.revoked_at > key.created_at + timedelta(days=1)
    later(world)
    assert world.lab.access.revoke_key(world.participant, key.key_id) == revoked
    assert own(world) == revoked


def test_another_organisations_key_is_no_key_at_all(world: World) -> None:
    said = []
    for key_id in (own(world).key_id, "0" * 64):
        with pytest.raises(NotFound) as caught:
            world.lab.access.revoke_key(world.authority, key_id)
        said.append(str(caught.value).replace(key_id, "KEY"))
    assert said[0] == said[1]
    assert own(world).revoked_at is None


def test_a_revoked_key_is_not_registered_again(world: World) -> None:
    key = own(world)
    assert world.lab.access.register_key(world.participant, key.pem) == key  # twice is once
    with pytest.raises(Conflict) as before:
        world.lab.access.register_key(world.authority, key.pem)
    revoked = world.lab.access.revoke_key(world.participant, key.key_id)
    with pytest.raises(Conflict, match=rf"this key was revoked on {revoked.revoked_at:%Y-%m-%d}\. Make another: livinglab key new\."):
        world.lab.access.register_key(world.participant, key.pem)
    with pytest.raises(Conflict) as after:
        world.lab.access.register_key(world.authority, key.pem)
    assert str(before.value) == str(after.value), "others are told nothing"
    assert own(world) == revoked


def test_what_a_key_signed_before_it_was_revoked_stays_in_force_and_its_dossier_holds(world: World, tmp_path: Path) -> None:
    revoked = world.lab.access.revoke_key(world.participant, own(world).key_id)
    run = world.request()
    world.carry()
    assert world.look(run)[0].state is RunState.COMPLETED
    world.lab.dossiers.write(world.participant, world.plan, tmp_path / "d.zip")
    policy = trusted(world, tmp_path)

    def until(shift: timedelta) -> TrustPolicy:
        """The same trust, which has an end for this key."""
        assert revoked.revoked_at
        ended = replace(policy.keys[revoked.key_id], valid_until=revoked.revoked_at + shift)
        return TrustPolicy({**policy.keys, revoked.key_id: ended})

    assert verify(tmp_path / "d.zip", until(timedelta(0))).problems == []
    assert not verify(tmp_path / "d.zip", until(timedelta(days=-1))).ok, "it was not trusted any more when it signed"
