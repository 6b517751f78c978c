"""What the shell makes of whatever listens at the socket."""

import json
import threading
from contextlib import suppress

import pytest

from dhtwisted import __version__
from dhtwisted.cli import control_client as client
from dhtwisted.cli.output import CapturedOutput
from dhtwisted.config.settings import ServerSettings, Settings, StorageSettings
from dhtwisted.control.protocol import Greeting, Reply, data_id, encode_line
from dhtwisted.control.socket_file import listen_at
from dhtwisted.control.users import ListUsers
from dhtwisted.errors import CommandError
from tests.support.waiting import wait_until


@pytest.fixture
def settings(tmp_path):
    return Settings(server=ServerSettings(control_socket=str(tmp_path / "control")), storage=StorageSettings(provider="memory:"))


@pytest.fixture
def serve(settings):
    """A function that has somebody listen who says something to the first who comes, and hears one line."""
    listener = listen_at(settings.server.control_socket)
    listener.setblocking(True)
    listener.settimeout(30)
    heard = []

    def answer(said, hangs):
        connection, _ = listener.accept()
        with connection:
            connection.sendall(said)
            if hangs:
                ended.wait(30)
            if hangs or not said:
                return
            # A client that has heard enough goes without reading the rest.
            with suppress(ConnectionError), connection.makefile("rb") as file:
                heard.append(file.readline())

    ended, threads = threading.Event(), []

    def start(*said, hangs=False):
        threads.append(threading.Thread(target=answer, args=(b"".join(said), hangs)))
        threads[-1].start()
        return heard

    yield start
    ended.set()
    for thread in threads:
        thread.join()
    listener.close()


def greeting(settings, **changes):
    return encode_line(Greeting(**{"version": 1, "program": __version__, "storage": data_id(settings)} | changes))


def list_users(settings):
    output, objects = CapturedOutput(), []
    with client.connect(settings) as connection:
        return connection.execute(ListUsers(), output, objects.append), output.data, objects


def test_output_progress_and_the_end(serve, settings):
    heard = serve(
        greeting(settings),
        encode_line(Reply()),
        encode_line(Reply(output=5)) + b"line\n",
        encode_line(Reply(objects=7)),
        encode_line(Reply(output=1)) + b"x",
        encode_line(Reply(done=True, line="Done.")),
    )
    assert list_users(settings) == ("Done.", b"line\nx", [7])
    wait_until(lambda: heard, "the command has come")
    assert json.loads(heard[0]) == {"command": "user list", "json": False}


def test_nobody_and_a_server_with_other_data(serve, settings, tmp_path):
    other = Settings(server=ServerSettings(control_socket=str(tmp_path / "none")), storage=settings.storage)
    assert client.connect(other) is None
    serve(greeting(settings, storage="other"))
    assert client.connect(settings) is None


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ([encode_line(Reply(error="no"))], "no"),
        ([b"SSH-2.0-OpenSSH\n"], "no server of this version"),
        ([b"\xff\n"], "no server of this version"),
        ([b"x" * 100_000], "the server ended"),
        ([], "the server ended"),
    ],
)
def test_who_does_not_greet(serve, settings, said, words):
    serve(*said)
    with pytest.raises(CommandError, match=words):
        client.connect(settings)


def test_another_version(serve, settings):
    serve(greeting(settings, version=2, program="9.0"))
    with pytest.raises(CommandError, match="has version 9.0, which this program cannot talk to: restart the server"):
        client.connect(settings)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ([encode_line(Reply(error="there is no user"))], "there is no user"),
        ([encode_line(Reply(output=100)) + b"cut"], "the server ended"),
        ([b"[]\n"], "no server of this version"),
        ([], "the server ended"),
    ],
)
def test_what_can_go_wrong_later(serve, settings, said, words):
    serve(greeting(settings), *said)
    with pytest.raises(CommandError, match=words):
        list_users(settings)


def test_one_that_says_nothing(serve, settings, monkeypatch):
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.1)
    serve(hangs=True)
    with pytest.raises(CommandError, match="has not answered for 0 seconds; read its log"):
        client.connect(settings)


def test_what_is_no_text_is_not_sent(serve, settings):
    serve(greeting(settings), hangs=True)
    with client.connect(settings) as connection, pytest.raises(CommandError, match="not text in UTF-8"):
        connection.execute(_Odd(), CapturedOutput())


class _Odd(ListUsers, tag="odd"):
    login: str = "\udcff"
