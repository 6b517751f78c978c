"""Certificates from files: what is refused, and in which words; files that change by themselves."""

import pytest
from twisted.logger import LogLevel, capturedLogs

from dhtwisted.config.settings import Settings, TlsSettings
from dhtwisted.errors import ConfigurationError
from dhtwisted.service.tls import Certificates, make_context
from tests.support.certificates import Authority, write_certificate


@pytest.fixture
def certificate(tmp_path):
    """A self-signed certificate and its key in one file."""
    return write_certificate(tmp_path / "server.pem")


def complaint(**settings):
    """Use wrong settings; returns what the person is told."""
    with pytest.raises(ConfigurationError) as raised:
        make_context(TlsSettings(**{name: str(value) for name, value in settings.items()}))
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_certificate_and_key_may_have_a_file_each_and_a_chain(tmp_path):
    certificate, key = Authority().issue()
    (tmp_path / "chain.pem").write_bytes(certificate + Authority().certificate)
    (tmp_path / "key.pem").write_bytes(key)
    make_context(TlsSettings(certificate=str(tmp_path / "chain.pem"), key=str(tmp_path / "key.pem")))
    assert "tls.key: " in complaint(certificate=tmp_path / "chain.pem")


def test_what_is_wrong_is_said_with_option_and_file(tmp_path, certificate):
    other = write_certificate(tmp_path / "other.pem")
    assert "is not the key of" in complaint(certificate=certificate, key=other)
    assert "tls.certificate: /nowhere: cannot be read (No such file or directory)" in complaint(certificate="/nowhere")
    assert "tls.client_authority" in complaint(certificate=certificate, client_authority=tmp_path / "none")
    whole = certificate.read_bytes()
    for length in (0, 10, 200, whole.index(b"-----END CERTIFICATE"), len(whole) - 60):
        certificate.write_bytes(whole[:length])
        assert "in PEM form" in complaint(certificate=certificate)


def test_files_that_an_editor_on_windows_has_saved(tmp_path, certificate):
    text = certificate.read_text()
    certificate.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    make_context(TlsSettings(certificate=str(certificate), client_authority=str(certificate)))
    (tmp_path / "wide.pem").write_text(text, encoding="utf-16")
    assert complaint(certificate=tmp_path / "wide.pem").startswith(f"tls.certificate: {tmp_path}/wide.pem: is in UTF-16")
    assert complaint(certificate=certificate, key=tmp_path / "wide.pem").startswith(f"tls.key: {tmp_path}/wide.pem: is in UTF-16")


def test_a_changed_file_is_noticed_and_a_broken_one_is_told_once(tmp_path, certificate):
    certificates = Certificates(TlsSettings(certificate=str(certificate)))
    with capturedLogs() as logs:
        certificates.reload_if_changed()
        assert logs == []
        first = certificates.serverConnectionForTLS(None).get_context()
        certificate.write_bytes(certificate.read_bytes()[:300])
        for _ in range(3):
            certificates.reload_if_changed()
        assert certificates.serverConnectionForTLS(None).get_context() is first
        certificate.unlink()
        for _ in range(3):
            certificates.reload_if_changed()
        assert [event["log_level"] for event in logs] == [LogLevel.error] * 2
        write_certificate(certificate)
        for _ in range(3):
            certificates.reload_if_changed()
        assert certificates.serverConnectionForTLS(None).get_context() is not first
        assert [event["log_level"] for event in logs] == [LogLevel.error] * 2 + [LogLevel.info]


def test_a_reload_takes_effect_only_when_it_is_told_to(tmp_path, certificate):
    certificates = Certificates(TlsSettings(certificate=str(certificate)))
    first = certificates.serverConnectionForTLS(None).get_context()
    with pytest.raises(ConfigurationError):
        certificates.reloadable(Settings(tls=TlsSettings(certificate="/nowhere")))
    take = certificates.reloadable(Settings(tls=TlsSettings(certificate=str(write_certificate(tmp_path / "other.pem")))))
    assert certificates.serverConnectionForTLS(None).get_context() is first
    take()
    assert certificates.serverConnectionForTLS(None).get_context() is not first
