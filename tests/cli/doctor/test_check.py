"""``devicehive --check-config``: it asks the providers and reads the files, makes nothing, and says what it did not look at."""

import os

import pytest

from dhtwisted.cli.doctor import check as checking
from dhtwisted.config.sources import load_configuration
from dhtwisted.errors import ConfigurationError
from dhtwisted.interfaces import ICheckableProvider
from dhtwisted.kit.provider import CheckableProvider, Provider
from dhtwisted.model import Finding
from dhtwisted.providers import lookup as providers
from dhtwisted.providers.memory import MemoryStorage
from tests.support.certificates import write_certificate
from tests.support.command import run


def check(path, text):
    """What is said of a configuration file in a directory, with the levels."""
    file = path / "hive.toml"
    file.write_text(text)
    return [str(finding) for finding in checking.check(load_configuration(str(file)))]


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    """The current directory, which must stay as it was."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


TLS = '[server]\nlisten = ["tls:tcp:8443"]\n[tls]\ncertificate = "/nowhere/c.pem"'
MISTAKES = {
    "certificate": (TLS, "tls.certificate: /nowhere/c.pem: cannot be read"),
    "data file": ('[storage]\nprovider = "file:/none/x"', "storage.provider in {file}: /none/x: there is no directory /none"),
    "data directory": ('[storage]\nmessages = "file:{directory}"', "storage.messages in {file}: {directory}: is no file"),
    "DSN": ('[storage]\nprovider = "postgres:nonsense"', "storage.provider in {file}: postgres: the DSN cannot be read"),
    "bus": ('[bus]\nprovider = "postgres:host=db"', "bus.provider in {file}: bus.provider postgres: it tells of messages in Postgr"),
    "key": ('[auth]\nsecret_file = "/nowhere/key"', "auth.secret_file in {file}: /nowhere/key: the signing key is not there"),
    "log": ('[log]\nfile = "/nowhere/a.log"', "log.file in {file}: /nowhere/a.log: there is no directory /nowhere"),
    "audit": ('[log]\naudit_file = "{directory}"', "log.audit_file in {file}: {directory}: is a directory"),
    "socket": ('[server]\nlisten = ["unix:/nowhere/hive.sock"]', "unix:/nowhere/hive.sock: there is no directory /nowhere"),
}


@pytest.mark.parametrize(("text", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_finding(directory, text, words):
    if "postgres" in text:
        pytest.importorskip("psycopg2")
    before = os.listdir(directory)
    (line,) = check(directory, text.format(directory=directory))
    assert line.startswith("wrong ")
    assert words.format(directory=directory, file=directory / "hive.toml") in line
    assert set(os.listdir(directory)) - {"hive.toml"} == set(before)


def test_a_good_configuration_has_no_finding_and_makes_nothing(directory):
    certificate = write_certificate(directory / "server.pem", 100)
    text = f'[server]\nlisten = ["tls:tcp:8443", "unix:{directory}/socket"]\n[tls]\ncertificate = "{certificate}"\n[log]\nfile = "a.log"'
    assert check(directory, text) == []
    assert sorted(os.listdir(directory)) == ["hive.toml", "server.pem"]


def test_a_key_that_others_may_read(directory):
    key = directory / "key"
    key.write_text("k" * 40)
    key.chmod(0o644)
    (line,) = check(directory, '[auth]\nsecret_file = "key"')
    assert "others may read or change the signing key; run: chmod 600 key" in line


def _refuse(argument, context):
    raise ConfigurationError(f"mine: {argument} is not there; make it")


def _build(argument, context):
    return MemoryStorage(context.reactor)


MINE = ("storage", "mine", "of a test", "PATH")


@pytest.mark.parametrize(
    ("provider", "found"),
    [
        (CheckableProvider(*MINE, _build, _refuse), ["mine: x is not there; make it"]),
        (Provider(*MINE, _refuse), ["mine: x is not there; make it"]),
        (Provider(*MINE, _build), []),
    ],
    ids=["it can tell", "its argument is wrong", "it cannot tell"],
)
def test_a_provider_of_somebody_else(directory, monkeypatch, provider, found):
    monkeypatch.setattr(providers, "PROVIDERS", (*providers.PROVIDERS, provider))
    assert [line.partition("hive.toml: ")[2] for line in check(directory, '[storage]\nprovider = "mine:x"')] == found


def test_a_provider_of_somebody_else_that_has_more_to_say(directory, monkeypatch):
    findings = [Finding("warning", "x is old", "replace it"), Finding("ok", "y is there"), Finding("wrong", "z", topic="disk")]
    provider = CheckableProvider(*MINE, _build, lambda argument, context: findings)
    monkeypatch.setattr(providers, "PROVIDERS", (*providers.PROVIDERS, provider))
    found = check(directory, '[storage]\nprovider = "mine:x"')
    assert found == ["warning  storage: x is old; replace it", "wrong    disk: z"]


def _return_endless(argument, context):
    endless = []
    endless.append(endless)
    return endless


@pytest.mark.parametrize("run_check", [_build, _return_endless])
def test_a_check_that_returns_what_it_must_not(directory, monkeypatch, run_check):
    monkeypatch.setattr(providers, "PROVIDERS", (*providers.PROVIDERS, CheckableProvider(*MINE, _build, run_check)))
    (line,) = check(directory, '[storage]\nprovider = "mine:x"')
    assert line.startswith("wrong    storage: storage.provider in ")
    assert "its check returned what it must not" in line


def test_a_provider_says_that_it_can_be_asked():
    assert all(ICheckableProvider.providedBy(provider) for provider in providers.PROVIDERS if provider.role != "auth")
    assert not ICheckableProvider.providedBy(Provider("bus", "mine", "of a test", "", _refuse))


def test_as_a_command(directory):
    done = run(directory, "--check-config", "--storage", "file:/nonexistent/x", DHTWISTED_RETENTION="7d")
    assert (done.returncode, done.stderr) == (1, "")
    strange, *others = done.stdout.splitlines()
    assert strange.startswith("warning  configuration: DHTWISTED_RETENTION: is no option of the server, and is ignored; did you mean ")
    assert others == [
        "wrong    storage: --storage: /nonexistent/x: there is no directory /nonexistent; make it, or name another",
        "The configuration cannot work as it is.",
        checking.NOT_LOOKED_AT,
    ]
    assert os.listdir(directory) == []
