"""The command line: what it understands, and one line for each mistake. Most of it as a process, as a person sees it."""

import os

import pytest

from dhtwisted import __version__
from dhtwisted.config.sources import example_file
from dhtwisted.service.service import DeviceHiveService
from dhtwisted.tap import Options, makeService
from tests.support.command import COMMAND, TWISTD, run


def parse(*arguments):
    options = Options()
    options.parseOptions(arguments)
    return options


@pytest.fixture(autouse=True)
def no_options_in_the_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("DHTWISTED_")]:
        monkeypatch.delenv(name)


def test_mqtt_may_be_given_several_times():
    settings = parse("--mqtt", "tcp:1883", "--mqtt=tcp:1884").settings
    assert settings.mqtt.listen == ("tcp:1883", "tcp:1884")
    assert settings.mqtt.is_on
    assert not parse().settings.mqtt.is_on


def test_listen_may_be_given_several_times():
    assert parse("--listen", "tcp:1", "--listen=tcp:2").settings.server.listen == ("tcp:1", "tcp:2")


def test_the_command_line_wins_over_environment_and_file(tmp_path, monkeypatch):
    path = tmp_path / "devicehive.toml"
    path.write_text('[storage]\nprovider = "file:one"\nmessages = "memory:"\nretention = "1d"')
    monkeypatch.setenv("DHTWISTED_STORAGE_PROVIDER", "file:two")
    storage = parse("--config", str(path), "--storage", "file:three", "--messages", "file:four").settings.storage
    assert (storage.provider, storage.messages, storage.retention) == ("file:three", "file:four", 86400)


def test_a_command_has_a_file_and_the_options_of_the_server():
    options = parse("--storage", "file:one", "export", "--force", "a.jsonl")
    assert (options.subCommand, dict(options.subOptions)) == ("export", {"file": "a.jsonl", "force": 1})
    assert options.settings.storage.provider == "file:one"
    options = parse("import", "-")
    assert (options.subCommand, dict(options.subOptions)) == ("import", {"file": "-"})
    assert parse().subCommand is None


def test_a_command_is_nothing_for_twistd(tmp_path):
    done = run(tmp_path, "export", "a.jsonl", command=(*TWISTD, "devicehive"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "devicehive: export is no service: run it as devicehive export, without twistd\n"
    assert list(tmp_path.iterdir()) == []


def test_the_parts_are_put_together():
    assert isinstance(makeService(parse()), DeviceHiveService)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--version"], __version__),
        (["--help"], "--help-providers"),
        (["--help"], "A DeviceHive-compatible messaging server"),
        (["--help-providers"], "file:PATH"),
        (["--check-config"], "good"),
        (["--example-config"], example_file()),
        (["export", "--help"], "[--storage PROVIDER]"),
        (["import", "--version"], __version__),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(COMMAND, id="devicehive"),
        pytest.param((*TWISTD, "devicehive"), id="twistd", marks=[pytest.mark.slow, pytest.mark.lowest]),
    ],
)
def test_questions_are_answered_on_standard_output(tmp_path, command, arguments, words):
    done = run(tmp_path, *arguments, command=command)
    assert (done.returncode, done.stderr) == (0, "")
    assert words in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", "absent.toml"], "absent.toml"),
        (["--listen", "tcp"], "--listen"),
        (["--storage", "fiel:x"], "known are"),
        (["--messages", "memory:5"], "takes no argument"),
        (["--no-such-option"], "no-such-option"),
        (["--config"], "config"),
        (["stray"], "stray; see devicehive --help"),
        (["export"], "one FILE is needed"),
        (["import", "a", "b"], "one FILE is needed"),
        (["import", "--force", "a"], "--force"),
        (["--storage", "fiel:x", "export", "a"], "known are"),
        (["--check-config", "--storage", "x"], "colon"),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(COMMAND, id="devicehive"),
        pytest.param((*TWISTD, "-n", "--pidfile=", "devicehive"), id="twistd", marks=[pytest.mark.slow, pytest.mark.lowest]),
    ],
)
def test_a_mistake_is_one_line_on_standard_error_and_status_1(tmp_path, command, arguments, words):
    done = run(tmp_path, *arguments, command=command)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert words in line
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_the_environment_is_one_line_too(tmp_path):
    done = run(tmp_path, DHTWISTED_LIMITS_CONECTIONS="5")
    assert done.returncode == 1
    assert done.stderr == "devicehive: DHTWISTED_LIMITS_CONECTIONS: is no option; did you mean DHTWISTED_LIMITS_CONNECTIONS?\n"
