"""Where the control socket is, and who is let in and out."""

import os
import socket
import threading
from contextlib import closing

import pytest

from dhtwisted.config.settings import ServerSettings, Settings, StorageSettings
from dhtwisted.control import socket_file
from dhtwisted.errors import CommandError, ConfigurationError


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "control")


@pytest.mark.parametrize(
    ("given", "provider", "directory", "expected"),
    [
        ("", "file:/data/hive.sqlite", "/data", "/data/hive.sqlite.control"),
        ("", "memory:", None, None),
        ("", "postgres:", None, None),
        ("", "strangers:", "/data", "/data/devicehive.control"),
        ("off", "file:/data/hive.sqlite", "/data", None),
        ("/run/control", "file:/data/hive.sqlite", "/data", "/run/control"),
        ("/run/control", "memory:", None, "/run/control"),
    ],
)
def test_where_it_is(given, provider, directory, expected):
    settings = Settings(server=ServerSettings(control_socket=given), storage=StorageSettings(provider=provider))
    assert socket_file.socket_path(settings, directory) == expected


def test_a_relative_path_is_taken_where_the_server_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert socket_file.socket_path(Settings(server=ServerSettings(control_socket="control")), None) == f"{tmp_path}/control"


def test_it_is_never_open_to_others_and_nothing_is_left_beside_it(path, tmp_path):
    before = os.umask(0)
    try:
        with closing(socket_file.listen_at(path)):
            assert os.stat(path).st_mode & 0o777 == 0o600
            assert os.listdir(tmp_path) == ["control"]
    finally:
        os.umask(before)


def test_of_many_that_find_a_dead_one_one_takes_its_place(path):
    socket_file.listen_at(path).close()
    opened, refused = [], []

    def listen():
        try:
            opened.append(socket_file.listen_at(path))
        except ConfigurationError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=listen) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = opened
    winner.close()
    assert len(refused) == 7
    assert all("another server listens there" in words for words in refused)


@pytest.mark.parametrize("name", ["missing/control", "file/control"])
def test_where_none_can_be(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="server.control_socket: .* cannot be created"):
        socket_file.listen_at(str(tmp_path / name))


def test_a_name_that_is_too_long_for_a_file(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be created"):
        socket_file.listen_at(str(tmp_path / ("n" * 300)))
    assert os.listdir(tmp_path) == []


def test_the_socket_of_another_server_is_left_alone(path):
    with closing(socket_file.listen_at(path)):
        ours = socket_file.file_identity(path)
        os.unlink(path)
        with closing(socket_file.listen_at(path)):
            socket_file.remove(path, ours)
            assert os.path.exists(path)
            socket_file.remove(path, socket_file.file_identity(path))
            assert not os.path.exists(path)
            socket_file.remove(path, ours)


def test_where_no_server_listens(path, tmp_path):
    assert socket_file.connect_to(path) is None
    socket_file.listen_at(path).close()
    assert socket_file.connect_to(path) is None
    (tmp_path / "file").touch()
    assert socket_file.connect_to(str(tmp_path / "file")) is None
    assert socket_file.connect_to(str(tmp_path / "file" / "control")) is None


def test_a_server_that_takes_nobody(path, monkeypatch):
    monkeypatch.setattr(socket_file, "BACKLOG", 0)
    monkeypatch.setattr(socket_file, "PATIENCE", 0.05)
    with closing(socket_file.listen_at(path)), closing(socket_file.connect_to(path)), pytest.raises(TimeoutError):
        socket_file.connect_to(path)


def test_a_stranger_who_waits_there_for_passwords(path, tmp_path, monkeypatch):
    """Neither root, nor this account, nor the owner of the directory."""
    stranger = max(os.geteuid(), os.stat(tmp_path).st_uid) + 1
    monkeypatch.setattr(socket_file, "peer_ids", lambda connection: (1, stranger))
    with closing(socket_file.listen_at(path)), pytest.raises(CommandError, match="who is neither root nor you"):
        socket_file.connect_to(path)


def test_who_is_at_the_other_end():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert socket_file.peer_ids(ours) == (os.getpid(), os.geteuid())
