"""Files that root makes where another account works."""

import os
import pwd

import pytest

from dhtwisted.kit.private_files import open_or_create

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def make(path):
    os.close(open_or_create(path, os.O_RDWR))
    return path.stat()


def test_what_is_made_is_private_and_what_is_there_stays_as_it_is(tmp_path):
    path = tmp_path / "file"
    assert make(path).st_mode & 0o777 == 0o600
    path.chmod(0o640)
    path.write_text("x")
    assert make(path).st_mode & 0o777 == 0o640
    assert path.read_text() == "x"


def test_a_directory_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        make(tmp_path / "nowhere" / "file")


@as_root
def test_what_root_makes_belongs_to_the_owner_of_its_directory(tmp_path):
    account = pwd.getpwnam("nobody")
    os.chown(tmp_path, account.pw_uid, account.pw_gid)
    made = make(tmp_path / "made")
    assert (made.st_uid, made.st_gid) == (account.pw_uid, account.pw_gid)
    os.chown(tmp_path / "made", 0, 0)
    assert make(tmp_path / "made").st_uid == 0, "it was there"


@as_root
def test_a_link_does_not_have_root_give_away_a_file_elsewhere(tmp_path):
    theirs, elsewhere = tmp_path / "theirs", tmp_path / "elsewhere"
    theirs.mkdir()
    os.chown(theirs, pwd.getpwnam("nobody").pw_uid, -1)
    (theirs / "file").symlink_to(elsewhere)
    assert make(theirs / "file").st_uid == elsewhere.stat().st_uid == 0
