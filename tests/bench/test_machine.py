import os

import pytest

from bench.machine import IN_MEMORY, Cores, choose_cores, describe, file_system, said_by, warnings

MOUNTS = """\
/dev/vda / ext4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
/dev/vdb /tmp/disk\\040one xfs rw 0 0
none /data overlay rw 0 0
/dev/vdc /data btrfs rw 0 0
"""


def alone(core):
    return {core}


def test_server_and_generator_get_cores_of_their_own():
    cores = choose_cores({2, 3, 5}, alone)
    assert (cores.server, cores.generator, cores.everything) == ({2}, {3}, {2, 3, 5})
    assert not cores.shared
    assert cores.two == {2, 5}
    assert choose_cores({2, 3}, alone).two == {2, 3}
    assert choose_cores({2}, alone).two == {2}


def test_halves_of_one_core_are_avoided_where_there_is_another():
    pairs = {0: {0, 1}, 1: {0, 1}, 2: {2, 3}, 3: {2, 3}}
    assert choose_cores({0, 1, 2, 3}, pairs.get).generator == {2}
    assert choose_cores({0, 1}, pairs.get).generator == {1}


def test_a_single_core_is_shared_and_said_to_be():
    cores = choose_cores({4}, alone)
    assert cores.shared
    assert any("one core" in line for line in warnings(cores, "/"))


def test_this_machine_has_cores():
    assert choose_cores().everything == os.sched_getaffinity(0)


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/home", "ext4"), ("/tmp", "tmpfs"), ("/tmp/a/b", "tmpfs"), ("/tmp/disk one/a", "xfs"), ("/tmpfile", "ext4"), ("/data/a", "btrfs")],
)
def test_the_file_system_of_a_path_is_that_of_the_nearest_mount(path, kind):
    assert file_system(path, MOUNTS) == kind


def test_a_directory_in_memory_is_warned_of(monkeypatch):
    cores = Cores(frozenset({0}), frozenset({1}), frozenset({0, 1}))
    for kind in IN_MEMORY:
        monkeypatch.setattr("bench.machine.file_system", lambda path, kind=kind: kind)
        assert any("is in memory" in line for line in warnings(cores, "/fast"))
    monkeypatch.setattr("bench.machine.file_system", lambda path: "ext4")
    assert not any("in memory" in line for line in warnings(cores, "/fast"))


def test_the_machine_is_described(tmp_path):
    described = describe(tmp_path)
    assert all(described.values())
    assert {"processor", "kernel", "file system", "Python", "Twisted", "autobahn", "msgspec", "SQLite", "dhtwisted"} <= described.keys()


def test_a_program_that_is_not_there_says_nothing():
    assert said_by("no-such-program-anywhere", "-h") == ""
    assert said_by("/bin/sh", "-c", "echo one; echo two") == "one"
