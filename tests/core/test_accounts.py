"""Rules of users that the API and the shell share."""

import pytest
import pytest_twisted

from dhtwisted.core.accounts import change_user, delete_user
from dhtwisted.core.device_tokens import new_record, records_of_user
from dhtwisted.model import ADMINISTRATOR, CLIENT, Raised, User

NOW = 1_800_000_000_000


@pytest_twisted.async_yield_fixture
async def user(server):
    """A client with a device token."""
    user = await server.storage.insert(User(login="anna", login_key="anna", password="", role=CLIENT, valid_from=NOW - 1000))
    await server.storage.insert(new_record("pump", user.id, NOW - 500, NOW + 60_000, None))
    yield user


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({"intro_reviewed": True}, 1),
        ({"role": CLIENT, "valid_from": Raised(NOW, when="role")}, 1),
        ({"role": ADMINISTRATOR, "valid_from": Raised(NOW, when="role")}, 0),
        ({"valid_from": Raised(NOW)}, 0),
        # The record is younger than the end of the tokens: another node was faster. It has ended all the same.
        ({"valid_from": Raised(NOW - 700)}, 0),
    ],
)
@pytest_twisted.ensureDeferred
async def test_records_go_when_their_tokens_end_and_only_then(server, user, changes, left):
    await change_user(server.storage, user, changes)
    assert len(await records_of_user(server.storage, user.id)) == left


@pytest_twisted.ensureDeferred
async def test_a_token_that_is_made_after_another_change_is_kept(server, user):
    """Another request has ended the tokens since the user was read, and a new one was made: a role that stays the same ends nothing."""
    await change_user(server.storage, user, {"valid_from": Raised(NOW)})
    await server.storage.insert(new_record("pump", user.id, NOW + 10, NOW + 60_000, "new"))
    await change_user(server.storage, user, {"role": CLIENT, "valid_from": Raised(NOW + 20, when="role")})
    assert [record.label for record in await records_of_user(server.storage, user.id)] == ["new"]


@pytest_twisted.ensureDeferred
async def test_records_go_with_their_user(server, user):
    assert await delete_user(server.storage, user)
    assert not await delete_user(server.storage, user)
    assert await records_of_user(server.storage, user.id) == []
