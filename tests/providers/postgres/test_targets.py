"""The servers that a DSN names, one by one."""

import pytest
import pytest_twisted

from dhtwisted.providers.postgres.targets import find_targets


async def places(reactor, **parameters):
    return [(target.get("host"), target.get("hostaddr"), target.get("port")) for target in await find_targets(reactor, parameters)]


@pytest_twisted.ensureDeferred
async def test_each_host_is_a_target_with_its_port(reactor):
    assert await places(reactor, host="10.0.0.1,::1", port="1,2") == [("10.0.0.1", None, "1"), ("::1", None, "2")]
    assert await places(reactor, host="10.0.0.1,/run/pg", port="5") == [("10.0.0.1", None, "5"), ("/run/pg", None, "5")]
    assert await places(reactor, dbname="hive") == [(None, None, None)]
    assert await places(reactor, host="db", hostaddr="10.0.0.1") == [("db", "10.0.0.1", None)]
    assert await places(reactor, host="a,b", hostaddr="10.0.0.1,10.0.0.2") == [("a", "10.0.0.1", None), ("b", "10.0.0.2", None)]


@pytest_twisted.ensureDeferred
async def test_names_become_addresses(reactor):
    found = await places(reactor, host="localhost", port="7")
    assert ("localhost", "127.0.0.1", "7") in found


@pytest.mark.parametrize("name", ["a..b", "x" * 70 + ".invalid"])
@pytest_twisted.ensureDeferred
async def test_a_name_that_is_none_does_not_hide_the_others(reactor, name):
    assert await places(reactor, host=f"{name},10.0.0.1") == [("10.0.0.1", None, None)]
    with pytest.raises(OSError, match="x" if name[0] == "x" else "a..b"):
        await places(reactor, host=name)
