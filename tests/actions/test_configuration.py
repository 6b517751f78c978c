"""Configuration, and the name under which the reference server shows its signing key."""

import pytest
import pytest_twisted

from dhtwisted.actions.configuration import HIDDEN
from dhtwisted.providers.jwt.auth import JWTAuth
from dhtwisted.providers.jwt.signing_key import SigningKey
from tests.support.rest_api import client

SECRET = "a secret of forty characters for the tests"


@pytest.mark.parametrize("shown", [False, True])
@pytest_twisted.ensureDeferred
async def test_the_signing_key_is_shown_only_when_it_is_wanted(open_server, reactor, shown):
    server = await open_server(compatibility={"show_secret": shown})
    server.server.auth = JWTAuth(reactor, server.settings, server.storage, SigningKey(SECRET.encode(), SECRET.encode()))
    server.auth = server.server.authentication.auth = server.server.auth
    admin = await server.client()
    value = (await admin.call("configuration/get", name="jwt.secret"))["configuration"]["value"]
    assert value == (SECRET if shown else HIDDEN)
    assert (await client(server).get("/configuration/jwt.secret"))["value"] == value
    assert await admin.refused("configuration/put", name="jwt.secret", value="x") == (403, "Access is denied")
    assert await admin.refused("configuration/delete", name="jwt.secret") == (403, "Access is denied")
    assert (await client(server).send("PUT", "/configuration/jwt.secret", {"value": "x"}))[0] == 403
    await server.auth.close()


@pytest_twisted.ensureDeferred
async def test_a_provider_without_a_secret_shows_none(open_server):
    server = await open_server(compatibility={"show_secret": True})
    assert server.auth.secret is None
    assert (await client(server).get("/configuration/jwt.secret"))["value"] == HIDDEN


@pytest_twisted.ensureDeferred
async def test_a_path_has_the_name_and_a_body_the_value(server):
    admin = client(server)
    status, stored = await admin.send("PUT", "/configuration/a.b%20c", {"value": "x", "name": "other"})
    assert (status, stored["name"], stored["value"], stored["entityVersion"]) == (200, "a.b%20c", "x", 1)
    assert await admin.send("PUT", "/configuration/a", {}) == (400, {"error": 400, "message": "Invalid request parameters"})
    long = await admin.send("PUT", f"/configuration/{'x' * 33}", {"value": "y"})
    assert long == (400, {"error": 400, "message": "Name cannot be empty. The name's length should not be more than 32 symbols."})
    assert await admin.send("DELETE", "/configuration/a.b%20c") == (204, None)
