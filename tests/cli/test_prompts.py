"""What the commands about users take from a person or a script."""

import io

import pytest
from twisted.python.usage import UsageError

from dhtwisted.cli.tokens import TokenCommands
from dhtwisted.cli.users import UserCommands
from dhtwisted.control.tokens import parse_expiry
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
    assert parse_expiry(text, NOW, 90) == expires


@pytest.mark.parametrize(
    ("text", "words"), [("soon", "neither a duration"), ("2020-01-01", "is in the past"), ("30", "is in the past"), ("-1h", "neither")]
)
def test_what_is_no_end_of_a_token(text, words):
    with pytest.raises(AccountError, match=words):
        parse_expiry(text, NOW, 90)


@pytest.mark.parametrize("given", [b"a-new-password\n", b"a-new-password\r\nmore\n", b"a-new-password", b"\xef\xbb\xbfa-new-password\r\n"])
def test_a_password_is_the_first_line_without_its_end(hand_in, given):
    hand_in(given)
    assert parsed(UserCommands, "passwd", "--password-file", "-", "anna").request().password == "a-new-password"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_a_password_in_utf_16_is_named(hand_in, encoding):
    hand_in("a-new-password\r\n".encode(encoding))
    with pytest.raises(AccountError, match="the password is in UTF-16"):
        parsed(UserCommands, "passwd", "--password-file", "-", "anna").request()


def test_a_token_without_the_mark_of_an_editor(hand_in):
    hand_in(b"\xef\xbb\xbfeyJ.a.b\r\n")
    assert parsed(TokenCommands, "show").request().token == "eyJ.a.b"


def test_a_password_of_a_file_keeps_its_spaces(tmp_path):
    path = tmp_path / "password"
    path.write_text(" größer \n")
    assert parsed(UserCommands, "add", "anna", "--password-file", str(path)).request().password == " größer "


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("passwd", "anna", "--password-file", "-"), "not text in UTF-8"),
        (("passwd", "anna"), "no terminal"),
        (("delete", "anna"), "add --yes"),
    ],
)
def test_what_a_pipe_cannot_give(hand_in, arguments, words):
    hand_in(b"secret-\xff\xfe\n")
    with pytest.raises(AccountError, match=words) as caught:
        parsed(UserCommands, *arguments).request()
    assert "secret" not in str(caught.value)


def test_random_passwords_differ():
    command = parsed(UserCommands, "passwd", "--random", "anna")
    assert command.request().password != command.request().password


@pytest.mark.parametrize(
    "arguments", [("--admin", "--network", "1", "--network=2", "anna"), ("anna", "--network", "1", "--admin", "--network=2")]
)
def test_options_stand_before_a_login_or_behind_it(arguments):
    command = parsed(UserCommands, "add", *arguments)
    assert (command["login"], command["admin"], command["networks"]) == ("anna", 1, [1, 2])


def test_a_login_may_look_like_an_option():
    assert parsed(UserCommands, "enable", "--", "--yes")["login"] == "--yes"


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        (UserCommands, ("add", "--random", "--password-file", "-", "anna"), "either --random or"),
        (UserCommands, ("add", "anna", "--network", "x"), "'x' is no id"),
        (TokenCommands, ("create", "anna", "--network", "-1"), "'-1' is no id"),
        (TokenCommands, ("create", "anna", "--device-type", "9" * 19), "is no id"),
        (TokenCommands, ("create", "anna", "--nonsense"), "--nonsense not recognized"),
        (UserCommands, ("passwd", "anna", "the-password"), "one LOGIN is needed"),
    ],
)
def test_mistakes_on_the_command_line(kind, arguments, words):
    with pytest.raises(UsageError, match=words) as caught:
        parsed(kind, *arguments)
    assert "the-password" not in str(caught.value)
