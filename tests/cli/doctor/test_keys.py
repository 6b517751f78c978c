"""What the doctor says of keys, passwords and certificates."""

import pytest

from dhtwisted.cli.doctor import keys
from dhtwisted.cli.doctor.providers import AUTH, examine_providers
from dhtwisted.config.settings import AuthSettings, CompatibilitySettings, ServerSettings, Settings, StorageSettings, TlsSettings
from dhtwisted.config.sources import Configuration
from tests.support.certificates import write_certificate

GOOD = "k" * 40


def configured(directory, listen=("tcp:0",), tls=None, weak=False, **auth):
    """Settings with a data file in a directory."""
    settings = Settings(
        storage=StorageSettings(provider=f"file:{directory}/hive.sqlite"),
        server=ServerSettings(listen=tuple(listen)),
        tls=TlsSettings(**(tls or {})),
        auth=AuthSettings(**auth),
        compatibility=CompatibilitySettings(allow_weak_secret=weak),
    )
    return Configuration(settings)


def only(findings):
    """Level and text of the only finding."""
    (finding,) = findings
    return finding.level, finding.text


def signing_key(configuration):
    return examine_providers(configuration).about(AUTH)


def test_no_key_yet_is_well_and_makes_none(tmp_path):
    assert only(signing_key(configured(tmp_path))) == ("ok", f"{tmp_path}/devicehive.secret: is made at the first start")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "mode", "level", "words"),
    [
        (GOOD, 0o600, "ok", "40 bytes"),
        (GOOD, 0o640, "wrong", "chmod 600"),
        ("secret", 0o600, "wrong", "everybody knows"),
        ("short", 0o600, "wrong", "5 bytes"),
        ("", 0o600, "wrong", "is empty"),
    ],
)
def test_a_key_beside_the_data(tmp_path, content, mode, level, words):
    path = tmp_path / "devicehive.secret"
    path.write_text(content)
    path.chmod(mode)
    found, text = only(signing_key(configured(tmp_path)))
    assert found == level
    assert words in text
    assert GOOD not in text


def test_a_key_that_is_named_and_not_there(tmp_path):
    assert only(signing_key(configured(tmp_path, secret_file="/nowhere")))[0] == "wrong"


def test_a_weak_key_that_is_let_through(tmp_path):
    level, text = only(signing_key(configured(tmp_path, weak=True, secret="secret")))
    assert level == "warning"
    assert "allow_weak_secret" in text


def test_the_password_of_the_first_start(tmp_path):
    assert keys.check_password_file(configured(tmp_path)) == []
    (tmp_path / "devicehive.password").touch()
    assert only(keys.check_password_file(configured(tmp_path)))[0] == "warning"


def test_a_key_that_is_gone_while_there_are_data(tmp_path):
    (tmp_path / "hive.sqlite").touch()
    level, text = only(signing_key(configured(tmp_path)))
    assert level == "warning"
    assert f"{tmp_path}/devicehive.secret: is gone, and the next start makes another" in text


@pytest.mark.parametrize(("days", "level"), [(100, "ok"), (10, "warning"), (-1, "wrong")])
@pytest.mark.parametrize("endpoint", ["tls", "ssl"])
def test_the_time_of_certificates(tmp_path, days, level, endpoint):
    path = write_certificate(tmp_path / "server.pem", days)
    tls = {"certificate": str(path)} if endpoint == "tls" else None
    listen = ["tls:tcp:0"] if endpoint == "tls" else [f"ssl:0:privateKey={path}:certKey={path}"]
    assert only(keys.check_certificates(configured(tmp_path, listen, tls)))[0] == level


def test_a_key_of_another_certificate_and_one_that_all_may_read(tmp_path):
    first, second = (write_certificate(tmp_path / name, 100) for name in ("1.pem", "2.pem"))
    listen = ["tls:tcp:0"]
    level, text = only(keys.check_certificates(configured(tmp_path, listen, {"certificate": str(first), "key": str(second)})))
    assert level == "wrong"
    assert "is not the key of" in text
    first.chmod(0o644)
    good, open_to_all = keys.check_certificates(configured(tmp_path, listen, {"certificate": str(first)}))
    assert (good.level, open_to_all.level) == ("ok", "warning")
    assert "chmod o=" in open_to_all.text
