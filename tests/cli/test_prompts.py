"""What the commands about users take from a person or a script."""

import io

import pytest
from twisted.python.usage import UsageError

from dhtwisted.cli.prompts import given_to
from dhtwisted.cli.user_options import TokenOptions, UserOptions
from dhtwisted.control.tokens import expiry
from dhtwisted.errors import AccountError

NOW = 1_800_000_000_000


def parsed(kind, *arguments):
    options = kind()
    options.parseOptions(list(arguments))
    return options.subOptions


@pytest.fixture
def hand_in(monkeypatch):
    """A function that puts bytes on standard input, as a pipe has them."""
    return lambda given: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8", errors="surrogateescape"))


@pytest.mark.parametrize(
    ("text", "expires"),
    [
        (None, NOW + 90_000),
        ("30m", NOW + 1_800_000),
        ("30d", NOW + 2_592_000_000),
        ("2030-01-01T00:00:00", 1_893_456_000_000),
        ("2030-01-01T01:00:00+01:00", 1_893_456_000_000),
    ],
)
def test_when_a_token_ends(text, expires):
    assert expiry(text, NOW, 90) == expires


@pytest.mark.parametrize(
    ("text", "words"), [("soon", "neither a duration"), ("2020-01-01", "is past"), ("30", "is past"), ("-1h", "neither")]
)
def test_what_is_no_end_of_a_token(text, words):
    with pytest.raises(AccountError, match=words):
        expiry(text, NOW, 90)


@pytest.mark.parametrize("given", [b"a-new-password\n", b"a-new-password\r\nmore\n", b"a-new-password", b"\xef\xbb\xbfa-new-password\r\n"])
def test_a_password_is_the_first_line_without_its_end(hand_in, given):
    hand_in(given)
    assert given_to("user passwd", parsed(UserOptions, "passwd", "--password-file", "-", "anna")) == "a-new-password"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_a_password_in_utf_16_is_named(hand_in, encoding):
    hand_in("a-new-password\r\n".encode(encoding))
    with pytest.raises(AccountError, match="the password is in UTF-16"):
        given_to("user passwd", parsed(UserOptions, "passwd", "--password-file", "-", "anna"))


def test_a_token_without_the_mark_of_an_editor(hand_in):
    hand_in(b"\xef\xbb\xbfeyJ.a.b\r\n")
    assert given_to("token show", parsed(TokenOptions, "show")) == "eyJ.a.b"


def test_a_password_of_a_file_keeps_its_spaces(tmp_path):
    path = tmp_path / "password"
    path.write_text(" größer \n")
    assert given_to("user add", parsed(UserOptions, "add", "anna", "--password-file", str(path))) == " größer "


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("passwd", "anna", "--password-file", "-"), "not text in UTF-8"),
        (("passwd", "anna"), "no terminal"),
        (("delete", "anna"), "say --yes"),
    ],
)
def test_what_a_pipe_cannot_give(hand_in, arguments, words):
    hand_in(b"secret-\xff\xfe\n")
    with pytest.raises(AccountError, match=words) as caught:
        given_to(f"user {arguments[0]}", parsed(UserOptions, *arguments))
    assert "secret" not in str(caught.value)


def test_random_passwords_differ():
    command = parsed(UserOptions, "passwd", "--random", "anna")
    assert given_to("user passwd", command) != given_to("user passwd", command)


@pytest.mark.parametrize(
    "arguments", [("--admin", "--network", "1", "--network=2", "anna"), ("anna", "--network", "1", "--admin", "--network=2")]
)
def test_options_stand_before_a_login_or_behind_it(arguments):
    command = parsed(UserOptions, "add", *arguments)
    assert (command["login"], command["admin"], command["networks"]) == ("anna", 1, [1, 2])


def test_a_login_may_look_like_an_option():
    assert parsed(UserOptions, "enable", "--", "--yes")["login"] == "--yes"


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        (UserOptions, ("add", "--random", "--password-file", "-", "anna"), "either --random or"),
        (UserOptions, ("add", "anna", "--network", "x"), "'x' is no id"),
        (TokenOptions, ("create", "anna", "--network", "-1"), "'-1' is no id"),
        (TokenOptions, ("create", "anna", "--device-type", "9" * 19), "is no id"),
        (TokenOptions, ("create", "anna", "--nonsense"), "--nonsense not recognized"),
        (UserOptions, ("passwd", "anna", "the-password"), "one LOGIN is needed"),
    ],
)
def test_mistakes_on_the_command_line(kind, arguments, words):
    with pytest.raises(UsageError, match=words) as caught:
        parsed(kind, *arguments)
    assert "the-password" not in str(caught.value)
