"""What a DSN may say, and what may be shown of it."""

import pytest

from dhtwisted.errors import ConfigurationError
from dhtwisted.providers.postgres.dsn import describe, parse


@pytest.mark.parametrize("dsn", ["host=db dbname=hive user=u password='a b'", "postgresql://u:a%20b@db/hive"])
def test_both_forms_are_read(dsn):
    parameters = parse(dsn)
    assert {name: parameters[name] for name in ("host", "dbname", "user", "password")} == {
        "host": "db",
        "dbname": "hive",
        "user": "u",
        "password": "a b",
    }


def test_defaults_give_way():
    assert parse("host=db")["target_session_attrs"] == "read-write"
    assert parse("host=db target_session_attrs=any")["target_session_attrs"] == "any"


@pytest.mark.parametrize("dsn", ["host", "nonsense=1", "postgresql://u:geheim@[::1", "password='geheim"])
def test_what_is_no_dsn_is_refused_without_repeating_it(dsn):
    with pytest.raises(ConfigurationError, match="the DSN cannot be read") as caught:
        parse(dsn)
    assert "geheim" not in str(caught.value)


def test_the_encoding_is_ours():
    assert parse("client_encoding=utf-8")["client_encoding"] == "UTF8"
    with pytest.raises(ConfigurationError, match="client_encoding"):
        parse("client_encoding=LATIN1")


@pytest.mark.parametrize(
    ("dsn", "place"),
    [
        ("host=db port=5433 dbname=hive password=geheim", "database hive at db:5433"),
        ("host=/run/postgresql dbname=hive", "database hive at /run/postgresql"),
        ("user=hive", "database hive at the default host"),
    ],
)
def test_the_place_in_words(dsn, place):
    assert describe(parse(dsn)) == place


def test_ports_belong_to_hosts():
    assert parse("host=a,b port=1")["port"] == "1"
    assert parse("host=a,b port=1,2")["port"] == "1,2"
    with pytest.raises(ConfigurationError, match="one port"):
        parse("host=a,b port=1,2,3")
