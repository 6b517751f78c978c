import json
import sys
from types import SimpleNamespace

import pytest

from bench.figures import Failed, Lost, Missing
from bench.generator import SOURCE, CannotBuild, Generator, arguments, build, describe_loss, echo_load, hive_load, mqtt_load

SERVER = SimpleNamespace(port=8080, pids=[1], token="t")


@pytest.fixture
def program(tmp_path):
    """Makes a program that stands for the generator."""

    def make(code):
        path = tmp_path / "loadgen"
        path.write_text(f"#!{sys.executable}\nimport sys\n{code}\n")
        path.chmod(0o755)
        return Generator(path, {0})

    return make


def test_options_become_arguments():
    found = list(arguments({"sub_setup": ["a", "b"], "window": 4, "to_all": True}))
    assert found == ["--sub-setup", "a", "--sub-setup", "b", "--window", "4", "--to-all"]


def test_a_run_gives_what_the_program_printed(program):
    generator = program("print('{\"arguments\": ' + str(len(sys.argv)) + '}')")
    assert generator.run(SERVER, window=4) == {"arguments": 7}
    assert generator.run(None, mode="self") == {"arguments": 3}


def test_a_loss_is_raised_with_what_was_lost(program):
    generator = program('print(\'{"unanswered": 2, "undelivered": 0, "answered_twice": 1, "secs": null}\'); sys.exit(3)')
    with pytest.raises(Lost, match="^2 unanswered, 1 answered twice$"):
        generator.run(SERVER)


def test_a_run_that_could_not_be_done_is_a_failure_with_its_reason(program):
    with pytest.raises(Failed, match="cannot connect"):
        program("sys.stderr.write('cannot connect\\n'); sys.exit(2)").run(SERVER)
    with pytest.raises(Failed, match="status 1"):
        program("sys.exit(1)").run(SERVER)


def test_a_run_that_this_build_cannot_do_is_missing_with_what_to_install(program):
    with pytest.raises(Missing, match="apt install libssl-dev"):
        program("sys.stderr.write('built without TLS (apt install libssl-dev)\\n'); sys.exit(4)").run(SERVER)


def test_a_loss_that_is_not_counted_is_one_all_the_same():
    assert describe_loss("{}", "") == "an unknown loss"
    assert describe_loss(json.dumps({"errors": 1}), "the answer was\n 500") == "1 errors; the answer was 500"


def test_without_a_compiler_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler -O3")
    with pytest.raises(CannotBuild, match=r"no-such-compiler was not found.*apt install gcc"):
        build(tmp_path)


def test_the_sources_are_there():
    assert (SOURCE / "Makefile").is_file()


def test_all_sides_carry_the_same_payload():
    assert hive_load(SERVER)["payload"] == echo_load()["payload"] == mqtt_load()["payload"]
    assert json.loads(hive_load(SERVER)["payload"].replace("{n}", "1234567890"))["deviceId"] == "d1"


def test_what_is_sent_to_this_server_first_is_json():
    for subscription, member in ((None, "deviceId"), ('"networkIds":[1]', "networkIds")):
        authenticate, subscribe = map(json.loads, hive_load(SERVER, subscription=subscription)["sub_setup"])
        assert authenticate["token"] == "t"
        assert member in subscribe


def test_options_of_a_run_win():
    assert hive_load(SERVER, flow="ack")["flow"] == "ack"
