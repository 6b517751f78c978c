"""Files of exports: whole or not there, and nobody else's to read. The standard streams are tried with the commands."""

import gzip
import os
import stat

import pytest

from dhtwisted.errors import TransferError
from dhtwisted.transfer.files import open_input, open_output


def write(path, data, replace=False):
    with open_output(str(path), replace) as file:
        file.write(data)


def read(path):
    with open_input(str(path)) as file:
        return file.read()


def refusal(action, *arguments):
    with pytest.raises(TransferError) as caught:
        action(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_what_is_written_is_read(tmp_path, name):
    write(tmp_path / name, b"data" * 1000)
    assert read(tmp_path / name) == b"data" * 1000
    assert os.listdir(tmp_path) == [name]
    assert stat.S_IMODE(os.stat(tmp_path / name).st_mode) == 0o600, "there are hashes of passwords in it"


def test_a_name_says_whether_it_is_compressed(tmp_path):
    for name in ("a.jsonl", "a.jsonl.gz"):
        write(tmp_path / name, b"data" * 1000)
    assert (tmp_path / "a.jsonl").read_bytes() == b"data" * 1000
    compressed = (tmp_path / "a.jsonl.gz").read_bytes()
    assert len(compressed) < 100
    assert gzip.decompress(compressed) == b"data" * 1000


def test_a_file_has_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "a.jsonl"
    with open_output(str(path)) as file:
        file.write(b"data" * 10_000)
        (part,) = tmp_path.iterdir()
        assert part.name.startswith("a.jsonl.")
        assert part.suffix == ".part"
        assert stat.S_IMODE(part.stat().st_mode) == 0o600
    assert path.read_bytes() == b"data" * 10_000


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_a_failure_leaves_nothing(tmp_path, name):
    def fail():
        with open_output(str(tmp_path / name)) as file:
            file.write(b"data")
            raise TransferError("it failed")

    assert refusal(fail) == "it failed"
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_told_with_the_name(tmp_path):
    def fill():
        with open_output(str(tmp_path / "a.jsonl")):
            raise OSError(28, "No space left on device")

    assert refusal(fill) == f"{tmp_path}/a.jsonl cannot be written: No space left on device"
    assert os.listdir(tmp_path) == []


def test_a_file_that_is_there_is_replaced_only_when_that_is_wanted(tmp_path):
    path = tmp_path / "a.jsonl"
    write(path, b"old")
    assert "--force" in refusal(write, path, b"new")
    assert path.read_bytes() == b"old"
    write(path, b"new", True)
    assert path.read_bytes() == b"new"


def test_a_failure_leaves_the_file_that_was_to_be_replaced(tmp_path):
    path = tmp_path / "a.jsonl"
    write(path, b"old")
    with pytest.raises(KeyError), open_output(str(path), replace=True) as file:
        file.write(b"new")
        raise KeyError
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("a.jsonl", b"old")]


def test_a_link_stays_one(tmp_path):
    (tmp_path / "link.jsonl").symlink_to("a.jsonl")
    write(tmp_path / "link.jsonl", b"data")
    assert (tmp_path / "link.jsonl").is_symlink()
    assert (tmp_path / "a.jsonl").read_bytes() == b"data"


def test_places_where_no_file_can_be(tmp_path):
    assert "No such file or directory" in refusal(write, tmp_path / "missing" / "a.jsonl", b"")
    for replace in (False, True):
        assert "is not a file" in refusal(write, tmp_path, b"", replace)
        assert "is not a file" in refusal(write, "/dev/null", b"", replace)


def test_files_that_cannot_be_read(tmp_path):
    assert refusal(read, tmp_path / "a.jsonl") == f"{tmp_path}/a.jsonl cannot be read: No such file or directory"
    assert "Is a directory" in refusal(read, tmp_path)
