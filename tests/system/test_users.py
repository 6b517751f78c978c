"""``devicehive user`` and ``devicehive token``: the operator who is locked out, and what he does without a server that has the data.

What he does beside one is in ``test_control.py``.
"""

import json
import os
import pwd
import shutil

import pytest

from tests.support.servers.process import PASSWORD, Client, Refused, ServerProcess
from tests.support.servers.shell import STORAGE, done, failed, log_in

pytestmark = pytest.mark.slow


def test_who_has_lost_the_administrators_password(start, shell):
    start(*STORAGE).terminate()
    done(shell("user", "passwd", "--password-file", "-", "dhadmin", given="a-new-password\n"))
    server = start(*STORAGE)
    with pytest.raises(Refused, match="401"):
        log_in(server, "dhadmin", PASSWORD)
    assert log_in(server, "dhadmin", "a-new-password")


def test_a_random_password_is_good_and_shown_once(start, shell, tmp_path):
    start(*STORAGE).terminate()
    password = done(shell("user", "add", "--random", "--admin", "anna")).strip()
    server = start(*STORAGE)
    client = Client(server.url())
    client.call("authenticate", token=log_in(server, "anna", password))
    assert client.call("user/count")["count"] == 2
    assert password not in server.log


def test_a_disabled_user_does_not_get_in_and_an_enabled_one_does(start, shell):
    start(*STORAGE).terminate()
    done(shell("user", "add", "--password-file", "-", "anna", given=f"{PASSWORD}\n"))
    done(shell("user", "disable", "anna"))
    server = start(*STORAGE)
    with pytest.raises(Refused):
        log_in(server, "anna", PASSWORD)
    server.terminate()
    done(shell("user", "enable", "anna"))
    assert log_in(start(*STORAGE), "anna", PASSWORD)


def test_tokens_are_made_shown_and_revoked(start, shell):
    start(*STORAGE).terminate()
    token = done(shell("token", "create", "--expires", "1h", "--action", "GetDevice", "dhadmin")).strip()
    shown = json.loads(done(shell("token", "show", given=token)))
    assert (shown["user"], shown["actions"], shown["sort"]) == ("dhadmin", ["GetDevice"], "access")
    server = start(*STORAGE)
    client = Client(server.url())
    client.call("authenticate", token=token)
    client.call("device/list")
    with pytest.raises(Refused, match="403"):
        client.call("user/list")
    server.terminate()
    done(shell("token", "revoke", "dhadmin"))
    revoked = shell("token", "show", given=token)
    assert revoked.returncode == 1
    assert "it was revoked" in revoked.stderr
    with pytest.raises(Refused, match="401"):
        Client(start(*STORAGE).url()).call("authenticate", token=token)


def test_a_token_for_one_device_is_listed_and_revoked_by_its_id(start, shell):
    start(*STORAGE).terminate()
    lost, kept = (done(shell("token", "create", "--device", "pump", "--label", label, "dhadmin")).strip() for label in ("lost", "kept"))
    server = start(*STORAGE)
    for token in (lost, kept):
        client = Client(server.url())
        client.call("authenticate", token=token)
        client.call("device/save", deviceId="pump", device={})
        with pytest.raises(Refused, match="403"):
            client.call("device/save", deviceId="other", device={})
    server.terminate()
    (record,) = [json.loads(line) for line in done(shell("token", "list", "--json", "--device", "pump")).splitlines() if "lost" in line]
    assert any(str(record["id"]) in line and line.endswith("pump lost") for line in done(shell("token", "list")).splitlines())
    done(shell("token", "revoke", "--id", str(record["id"])))
    assert "it was revoked" in shell("token", "show", given=lost).stderr
    done(shell("token", "show", given=kept))
    assert "no device token" in failed(shell("token", "revoke", "--id", str(record["id"])))
    server = start(*STORAGE)
    with pytest.raises(Refused, match="401"):
        Client(server.url()).call("authenticate", token=lost)
    Client(server.url()).call("authenticate", token=kept)


def test_what_is_done_is_in_the_audit_log_without_any_secret(start, shell, tmp_path):
    start(*STORAGE).terminate()
    audit = {"DHTWISTED_LOG_AUDIT_FILE": "audit.log"}
    password = done(shell("user", "add", "--random", "anna", **audit)).strip()
    token = done(shell("token", "create", "--device", "pump", "anna", **audit)).strip()
    done(shell("user", "list", **audit))
    failed(shell("user", "disable", "dhadmin", **audit))
    text = (tmp_path / "audit.log").read_text()
    records = [json.loads(line) for line in text.splitlines()]
    assert [record["event"] for record in records] == ["shell/user add", "shell/token create"]
    assert (records[0]["login"], records[0]["role"], records[0]["networks"], records[0]["deviceTypes"]) == ("anna", "client", [], "*")
    (kept,) = [json.loads(line) for line in done(shell("token", "list", "--json")).splitlines()]
    assert (records[1]["token"], records[1]["expires"]) == (kept["id"], kept["expires"] + "Z")
    assert records[1]["rights"]
    assert records[1] | {"login": "anna", "device": "pump", "operator": pwd.getpwuid(os.getuid()).pw_name} == records[1]
    assert password not in text and token not in text


def test_beside_a_server_on_a_database(start, shell, database):
    """It hears of the change, as other nodes do."""
    storage = ("--storage", f"postgres:{database}")
    server = start(*storage, DHTWISTED_BUS_PROVIDER=f"postgres:{database}", DHTWISTED_AUTH_SECRET="s" * 40)
    client = server.connect()
    client.call("device/list")
    token = log_in(server, "dhadmin", PASSWORD)
    done(shell("token", "revoke", "dhadmin", storage=storage))
    with pytest.raises(Refused, match="401"):
        Client(server.url()).call("authenticate", token=token)
    with pytest.raises(Refused, match="401"):
        client.call("device/list")
    assert log_in(server, "dhadmin", PASSWORD)
    keyless = shell("token", "create", "dhadmin", storage=storage)
    assert (keyless.returncode, keyless.stdout) == (1, "")
    assert "signing key is not here" in keyless.stderr
    made = done(shell("token", "create", "dhadmin", storage=storage, DHTWISTED_AUTH_SECRET="s" * 40)).strip()
    Client(server.url()).call("authenticate", token=made)


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """The directory of a server that has started once."""
    directory = tmp_path_factory.mktemp("used")
    ServerProcess(directory, *STORAGE).terminate()
    return directory


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("user",), "a command is needed: list, add"),
        (("user", "passwd"), "one LOGIN is needed"),
        (("user", "passwd", "dhadmin"), "no terminal to ask"),
        (("user", "delete", "dhadmin"), "--yes"),
        (("user", "delete", "--yes", "dhadmin"), "last active administrator"),
        (("user", "role", "dhadmin", "chief"), "a LOGIN and a role"),
        (("user", "disable", "nobody"), "no user 'nobody'"),
        (("token", "create", "--expires", "soon", "dhadmin"), "neither a duration"),
        (("token", "create", "--expires", "2020-01-01", "dhadmin"), "is in the past"),
        (("token", "create", "--network", "-1", "dhadmin"), "no id"),
        (("user", "add", "--random", "--password-file", "-", "anna"), "either --random or"),
        (("token", "show"), "not a token"),
        (("token", "revoke"), "either a LOGIN or an ID"),
        (("token", "revoke", "--id", "x"), "'x' is no id"),
        (("user", "list", "--config", "x"), "it must be before the command: devicehive [--config FILE]"),
        (("doctor", "--config", "x"), "it must be before the command: devicehive [--config FILE]"),
        (("token", "create", "--expires", "5", "dhadmin"), "a duration has a unit"),
        (("token", "create", "--device", "a b", "dhadmin"), "1 to 48 ASCII letters"),
    ],
)
def test_mistakes_are_told_in_one_line(used, tmp_path, shell, arguments, words):
    shutil.copytree(used, tmp_path, dirs_exist_ok=True)
    assert words in failed(shell(*arguments))


def test_a_storage_without_users_and_one_in_memory(shell, tmp_path):
    assert "hive.sqlite: start a server first" in failed(shell("user", "list"))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "hive.sqlite").touch()
    assert "start one first" in failed(shell("user", "list"))
    assert "use the API" in failed(shell("user", "list", storage=("--storage", "memory:")))
