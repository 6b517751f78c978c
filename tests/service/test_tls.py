"""Certificates from files: what is refused, and in which words; files that change by themselves."""

import errno
import os
import ssl
from contextlib import suppress

import pytest
from OpenSSL import SSL, crypto
from twisted.internet.ssl import CertificateOptions
from twisted.logger import LogLevel, capturedLogs, formatEvent

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
    of_rsa = write_certificate(tmp_path / "rsa.pem", rsa_bits=2048)
    assert f"tls.key: {of_rsa}: is not the key of" in complaint(certificate=certificate, key=of_rsa)
    assert f"tls.key: {other}: is not the key of" in complaint(certificate=of_rsa, key=other)
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


def test_a_key_that_is_too_weak_is_refused_with_the_reason(tmp_path):
    certificate = write_certificate(tmp_path / "weak.pem", rsa_bits=1024)
    assert complaint(certificate=certificate) == f"tls.certificate: {certificate}: OpenSSL refuses it: ee key too small"


def shake_hands(server_context, client_context, session=None):
    """Do a handshake, if the client likes with the session of an earlier one; returns both sides."""
    buffers = [ssl.MemoryBIO() for _ in range(2)]
    server = server_context.wrap_bio(*buffers, server_side=True)
    client = client_context.wrap_bio(*reversed(buffers), session=session)
    for side in (client, server, client, server, client):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    server.write(b"x")
    assert client.read() == b"x"
    return server, client


@pytest.fixture
def client():
    """The context of a client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def test_no_client_gets_a_ticket_and_sessions_end_with_the_certificate(certificate, client):
    first = make_context(TlsSettings(certificate=str(certificate)))
    _, peer = shake_hands(first, client)
    assert peer.version() == "TLSv1.3"
    assert not peer.session.has_ticket
    assert not shake_hands(first, client, peer.session)[0].session_reused
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    _, peer = shake_hands(first, client)
    assert not peer.session.has_ticket
    # It is found by its number, for two hours.
    assert shake_hands(first, client, peer.session)[0].session_reused
    renewed = make_context(TlsSettings(certificate=str(certificate)))
    assert not shake_hands(renewed, client, peer.session)[0].session_reused


def test_versions_and_ciphers(certificate):
    context = make_context(TlsSettings(certificate=str(certificate)))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION and context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    ciphers = {cipher["name"] for cipher in context.get_ciphers()}
    assert not [
        name for name in ciphers if any(bad in name for bad in ("NULL", "ADH", "AECDH", "RC4", "3DES", "MD5", "EXP", "DSS", "PSK", "CCM8"))
    ]
    recommended = SSL.Connection(CertificateOptions().getContext(), None).get_cipher_list()
    assert {"TLS_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"} <= ciphers & set(recommended)


def test_no_file_stays_open(certificate):
    before = os.listdir("/proc/self/fd")
    for mark in (b"", b"\xef\xbb\xbf"):
        certificate.write_bytes(mark + certificate.read_bytes())
        make_context(TlsSettings(certificate=str(certificate)))
        assert os.listdir("/proc/self/fd") == before


def test_only_a_byte_order_mark_needs_a_file_in_memory(certificate, monkeypatch):
    def fail(name):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "memfd_create", fail)
    make_context(TlsSettings(certificate=str(certificate)))
    certificate.write_bytes(b"\xef\xbb\xbf" + certificate.read_bytes())
    assert complaint(certificate=certificate) == (
        f"tls.certificate: {certificate}: it begins with a byte order mark, which the server cannot take away here (Permission denied); "
        "save it without one"
    )


@pytest.mark.filterwarnings("ignore:dump_privatekey")
def test_openssl_never_asks_for_a_passphrase(tmp_path):
    certificate, key = Authority().issue()
    (tmp_path / "chain.pem").write_bytes(certificate)
    empty = crypto.dump_privatekey(crypto.FILETYPE_PEM, crypto.load_privatekey(crypto.FILETYPE_PEM, key), "aes-256-cbc", b"")
    assert b"ENCRYPTED" in empty
    (tmp_path / "key.pem").write_bytes(empty)
    # The passphrase is empty, so it is known.
    make_context(TlsSettings(certificate=str(tmp_path / "chain.pem"), key=str(tmp_path / "key.pem")))


def test_a_file_that_vanishes_between_two_reads(certificate, monkeypatch):
    def vanish(self, *files, password):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", vanish)
    assert complaint(certificate=certificate).startswith(f"tls.certificate: {certificate}: cannot be read with its key (")


def test_a_changed_file_is_noticed_and_a_broken_one_is_told_once(tmp_path, certificate):
    certificates = Certificates(TlsSettings(certificate=str(certificate)))
    with capturedLogs() as logs:
        certificates.reload_if_changed()
        assert logs == []
        first = certificates.context
        certificate.write_bytes(certificate.read_bytes()[:300])
        for _ in range(3):
            certificates.reload_if_changed()
        assert certificates.context is first
        certificate.unlink()
        for _ in range(3):
            certificates.reload_if_changed()
        assert [event["log_level"] for event in logs] == [LogLevel.error] * 2
        write_certificate(certificate)
        for _ in range(3):
            certificates.reload_if_changed()
        assert certificates.context is not first
        assert [event["log_level"] for event in logs] == [LogLevel.error] * 2 + [LogLevel.info]


def test_a_reload_takes_effect_only_when_it_is_told_to(tmp_path, certificate):
    certificates = Certificates(TlsSettings(certificate=str(certificate)))
    first = certificates.context
    with pytest.raises(ConfigurationError):
        certificates.reloadable(Settings(tls=TlsSettings(certificate="/nowhere")))
    take = certificates.reloadable(Settings(tls=TlsSettings(certificate=str(write_certificate(tmp_path / "other.pem")))))
    assert certificates.context is first
    take()
    assert certificates.context is not first


def test_a_reload_says_that_it_has_taken_another_certificate(certificate):
    settings = Settings(tls=TlsSettings(certificate=str(certificate)))
    certificates = Certificates(settings.tls)
    with capturedLogs() as logs:
        certificates.reloadable(settings)()
        assert logs == []
        write_certificate(certificate)
        certificates.reloadable(settings)()
        certificates.reload_if_changed()
    assert [formatEvent(event) for event in logs] == [f"The certificate in {certificate} has changed; new connections use it"]
