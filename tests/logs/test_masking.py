"""Secrets do not come through, ordinary words do, and nobody can make it slow."""

import time

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtwisted.logs.masking import LONGEST, encodable, escaped, is_secret_name, mask

TOKEN = jwt.encode({"payload": {"u": 1}}, b"k" * 32, "HS256")


@pytest.mark.parametrize(
    "text",
    [
        "password=hunter22",
        "host=db password=hunter22 user=x",
        "host=db password='hunter22 and more' user=x",
        "host=db password = 'hunter22\\' and' user=x",
        "postgresql://user:hunter22@db/name",
        "postgres:postgresql://user:hun:hunter22/ter@db/name?sslmode=require",
        '{"login": "anna", "password": "hunter22"}',
        '{"login": "anna", "password":"hunter22 with \\" quote"}',
        "{'password': 'hunter22'}",
        'b\'{\\"password\\": \\"hunter22\\"}\'',
        "Token(login='anna', password='hunter22')",
        "GET /rest/device?access_token=hunter22&take=3",
        "refreshToken='hunter22'",
        "Authorization: Bearer hunter22",
        "authorization: Basic hunter22==",
        "DHTWISTED_AUTH_SECRET=hunter22",
        'User(password="$scrypt$15$8$1$hunter22$x")',
        "record $scrypt$15$8$1$hunter22$aGVsbG8= is old",
        "x-api-key=hunter22",
        "password='hunter22",
    ],
)
def test_secrets_are_hidden(text):
    masked = mask(f"before {text} after")
    assert "hunter22" not in masked
    assert masked.startswith("before ")
    assert "***" in masked


def test_tokens_are_hidden_whole_and_cut():
    for text in (TOKEN, TOKEN[:30], TOKEN.rsplit(".", 1)[0]):
        assert mask(f"got {text}!") == "got ***!"


@pytest.mark.parametrize(
    "text",
    [
        "First start: the administrator's password is in /var/lib/devicehive/devicehive.password; read it, then delete the file",
        "auth.admin_password: set it for the first start as a daemon",
        'auth.secret_file = "/etc/key" and auth.password_cost = 15',
        "a login failed: 'anna'",
        "Listening on 127.0.0.1:8080 (tcp:8080:interface=127.0.0.1)",
        "Wednesday, https://hive.example:8443/dh/rest",
        "The signing key is shorter than 32 bytes: tokens can be forged",
    ],
)
def test_ordinary_words_come_through(text):
    assert mask(text) == text


@pytest.mark.parametrize("name", ["password", "accessToken", "refresh_token", "jwt.secret", "ADMIN_PASSWORD", "api_key"])
def test_names_of_secrets(name):
    assert is_secret_name(name)


def test_other_names():
    assert not any(map(is_secret_name, ("login", "user", "connection", "key", "reason")))


@pytest.mark.parametrize(
    "piece", ["password=", "password='", "://x:", "eyJ", "token\\", "'", "secret -", "Bearer ", "a", "$scrypt$", "authorization:"]
)
def test_nobody_can_make_it_slow(piece):
    text = piece * (1024**2 // len(piece))
    began = time.process_time()
    mask(text)
    assert time.process_time() - began < 1


def test_length_is_bounded():
    assert len(mask("x" * 10**6)) < LONGEST + 100
    assert mask("x" * LONGEST) == "x" * LONGEST
    assert "hunter22" not in mask("x" * (LONGEST - 20) + "postgresql://u:hunter22" + "y" * 50 + "@db")


@given(st.text())
def test_escaped_text_is_one_line_and_cannot_move_a_cursor(text):
    line = escaped(text)
    assert line.isprintable()
    assert len(line.splitlines()) <= 1
    line.encode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb", "a\\nb"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("\u202e", "\\u202e"),
        ("\ud800", "\\ud800"),
        ("Grüße", "Grüße"),
    ],
)
def test_escapes(text, expected):
    assert escaped(text) == expected


@given(st.text())
def test_encodable_text_can_be_encoded(text):
    assert encodable(text).encode().decode() == encodable(text)
