"""The key that signs tokens: where it comes from, and which are refused."""

import base64
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtwisted.config.settings import AuthSettings, CompatibilitySettings, Settings
from dhtwisted.errors import ConfigurationError
from dhtwisted.providers.jwt.signing_key import decode_lenient, find_key, look_for_key

LONG = "0123456789abcdefghijklmnopqrstuvwxyzABCD"


class Place:
    """As much of a storage as a key needs."""

    def __init__(self, state_directory=None, durability="durable"):
        self.state_directory = state_directory
        self.durability = durability


def with_secret(secret="", secret_file="", **compatibility):
    return Settings(auth=AuthSettings(secret=secret, secret_file=str(secret_file)), compatibility=CompatibilitySettings(**compatibility))


def refusal(settings, storage=None):
    """Look for a key in vain.

    :returns: what the person is told.
    """
    with pytest.raises(ConfigurationError) as raised:
        find_key(settings, storage or Place())
    assert "\n" not in str(raised.value)
    return str(raised.value)


def private_file(path, content):
    path.touch(0o600)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("secret", "standard"),
    [
        ("devicehive", "devicehi"),
        ("secret", "secr"),
        ("abc", ""),
        ("-a_b.c d\n", "abcd"),
        ("géhéim", "ghim"),
        ("QQ==", "QQ=="),
        ("QUI=QUJD", "QUJBQkM="),
    ],
)
def test_lenient_decoding_skips_what_is_no_base64_and_drops_an_incomplete_last_group(secret, standard):
    assert decode_lenient(secret.encode()) == base64.b64decode(standard)


def test_lenient_keys_of_known_secrets_are_as_short_as_published():
    assert len(decode_lenient(b"devicehive")) == 6
    assert len(decode_lenient(b"secret")) == 3


@given(st.binary())
def test_lenient_decoding_takes_anything(secret):
    assert len(decode_lenient(secret)) <= len(secret) * 3 // 4


def test_the_environment_wins(tmp_path):
    path = private_file(tmp_path / "key", b"f" * 40)
    assert find_key(with_secret(LONG, path), Place(str(tmp_path))) == LONG.encode()


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_a_file_may_end_its_line(tmp_path, ending):
    path = private_file(tmp_path / "key", LONG.encode() + ending)
    assert find_key(with_secret(secret_file=path), Place()) == LONG.encode()


MARKED = b"\xef\xbb\xbf" + LONG.encode()


@pytest.mark.parametrize(
    ("content", "words"), [(MARKED, "byte order mark"), (LONG.encode("utf-16"), "UTF-16"), (LONG.encode("utf-16-be"), "UTF-16")]
)
def test_a_key_that_an_editor_has_changed_is_refused(tmp_path, content, words):
    """It is another key than the one without the mark, and nobody would see why tokens are not good."""
    path = private_file(tmp_path / "key", content)
    assert f"{path}: " in refusal(with_secret(secret_file=path))
    assert words in refusal(with_secret(secret_file=path))


@pytest.mark.parametrize("start", [b"\xff\xfe", b"\xfe\xff", b"\0\0"])
def test_random_bytes_are_a_key(tmp_path, start):
    key = start + bytes(range(10, 74))
    assert find_key(with_secret(secret_file=private_file(tmp_path / "key", key)), Place()) == key


def test_a_key_file_that_changes_under_a_server(tmp_path):
    path = private_file(tmp_path / "key", LONG.encode() + b"\n")
    key = find_key(with_secret(secret_file=path), Place())
    assert key.problem() == ""
    path.write_bytes(LONG.encode())
    assert key.problem() == "", "the end of a line is no part of it"
    path.write_bytes(b"another" * 8)
    assert key.problem().startswith(f"{path}: is not the signing key in force, which stays as it is: when the server starts again no token")
    path.unlink()
    assert "cannot be read any more (No such file or directory)" in key.problem()
    private_file(path, LONG.encode())
    assert key.problem() == ""


def test_a_key_without_a_file_has_no_problem(tmp_path):
    assert find_key(with_secret(LONG), Place(str(tmp_path))).problem() == ""
    assert find_key(with_secret(), Place(durability="volatile")).problem() == ""


def test_looking_for_a_key_makes_none(tmp_path):
    assert look_for_key(with_secret(), Place(str(tmp_path))) is None
    assert list(tmp_path.iterdir()) == []
    key = find_key(with_secret(), Place(str(tmp_path)))
    assert look_for_key(with_secret(), Place(str(tmp_path))) == key


def test_the_first_start_makes_a_key_and_the_next_reads_it(tmp_path):
    key = find_key(with_secret(), Place(str(tmp_path)))
    (path,) = tmp_path.iterdir()
    assert path.name == "devicehive.secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(key) >= 32
    assert find_key(with_secret(), Place(str(tmp_path))) == key


def test_two_directories_have_two_keys(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert find_key(with_secret(), Place(str(tmp_path / "a"))) != find_key(with_secret(), Place(str(tmp_path / "b")))


def test_a_key_made_here_is_long_enough_for_the_lenient_way_too(tmp_path):
    settings = with_secret(secret_encoding="base64-lenient")
    assert len(find_key(settings, Place(str(tmp_path)))) >= 32
    assert len(find_key(settings, Place(durability="volatile"))) >= 32


def test_a_volatile_storage_gets_a_new_key_each_time():
    assert find_key(with_secret(), Place(durability="volatile")) != find_key(with_secret(), Place(durability="volatile"))


def test_a_durable_storage_without_a_directory_needs_a_given_key():
    text = refusal(with_secret())
    assert "auth.secret_file" in text
    assert "make one with: " in text


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o620])
def test_a_file_that_others_reach_is_refused_with_the_cure(tmp_path, mode):
    path = private_file(tmp_path / "key", LONG.encode())
    path.chmod(mode)
    assert f"chmod 600 {path}" in refusal(with_secret(secret_file=path))


def test_a_missing_file_is_named(tmp_path):
    assert f"base64 > {tmp_path}/absent)" in refusal(with_secret(secret_file=tmp_path / "absent"))


def test_a_key_that_cannot_be_read_is_not_to_be_made_anew(tmp_path):
    """It would end all tokens."""
    (tmp_path / "key").mkdir(0o700)
    text = refusal(with_secret(secret_file=tmp_path / "key"))
    assert "cannot be read (Is a directory); name another" in text
    assert "make one" not in text


def test_a_directory_that_is_not_there_is_named(tmp_path):
    assert str(tmp_path / "absent") in refusal(with_secret(), Place(str(tmp_path / "absent")))


@pytest.mark.parametrize("secret", ["secret", "devicehive", "xyzzy", "xyzzy" * 6])
@pytest.mark.parametrize("encoding", ["raw", "base64-lenient"])
def test_weak_keys_are_refused_unless_allowed(secret, encoding):
    text = refusal(with_secret(secret, secret_encoding=encoding))
    assert "set compatibility.allow_weak_secret" in text
    assert "xyzzy" not in text


def test_a_weak_key_may_be_allowed():
    assert find_key(with_secret("secret", allow_weak_secret=True), Place()) == b"secret"
    assert find_key(with_secret("secret", allow_weak_secret=True, secret_encoding="base64-lenient"), Place()) == bytes.fromhex("b1e72b")


def test_an_empty_key_is_never_allowed(tmp_path):
    path = private_file(tmp_path / "key", b"\n")
    assert "empty" in refusal(with_secret(secret_file=path, allow_weak_secret=True))


def test_what_looks_long_but_decodes_short_is_refused():
    assert "30 bytes" in refusal(with_secret(LONG, secret_encoding="base64-lenient"))
