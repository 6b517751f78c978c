"""``tls:`` endpoints: what is spoken, whose certificates are taken, and certificates that change under clients who stay."""

import contextlib
import signal
import socket
import ssl
import warnings

import pytest

from tests.support.certificates import Authority, write_certificate
from tests.support.servers.process import Client
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.lowest]

ENDPOINT = "tls:tcp:0:interface=127.0.0.1"
GET = b"GET /api/rest/info HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"


@pytest.fixture
def certificate(tmp_path):
    """A self-signed certificate and its key in one file."""
    return write_certificate(tmp_path / "server.pem")


@contextlib.contextmanager
def connected(server, client=None, lowest=ssl.TLSVersion.TLSv1_2, highest=ssl.TLSVersion.TLSv1_3, ciphers="DEFAULT"):
    """Connect; ``client`` is a file with a certificate and its key."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(ciphers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = lowest, highest
    if client is not None:
        context.load_cert_chain(client)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as plain, context.wrap_socket(plain) as secure:
        yield secure


def shown(server):
    """The certificate that a new client is shown."""
    with connected(server) as secure:
        return secure.getpeercert(binary_form=True)


def in_der_form(path):
    """The same of a file."""
    text = path.read_text()
    return ssl.PEM_cert_to_DER_cert(text[: text.index("-----END CERTIFICATE-----")] + "-----END CERTIFICATE-----")


def test_it_speaks_tls_of_today(start, certificate):
    server = start("--storage", "memory:", endpoint=ENDPOINT, DHTWISTED_TLS_CERTIFICATE=str(certificate))
    with connected(server) as secure:
        assert secure.version() == "TLSv1.3"
        secure.sendall(GET)
        assert secure.recv(100).startswith(b"HTTP/1.1 200 ")
    with connected(server, highest=ssl.TLSVersion.TLSv1_2) as secure:
        assert secure.version() == "TLSv1.2"
        assert secure.cipher()[0].startswith("ECDHE-")
    old = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError), connected(server, lowest=old, highest=old, ciphers="DEFAULT:@SECLEVEL=0"):
        pass
    with pytest.raises(ssl.SSLError), connected(server, highest=ssl.TLSVersion.TLSv1_2, ciphers="AES128-SHA:@SECLEVEL=0"):
        pass
    assert "unencrypted" not in server.log


def test_a_renewed_certificate_is_for_new_clients_and_the_others_stay(start, certificate, tmp_path):
    server = start("--storage", "memory:", endpoint=ENDPOINT, DHTWISTED_TLS_CERTIFICATE=str(certificate))
    client = Client(server.url(scheme="wss"), sslopt={"cert_reqs": ssl.CERT_NONE})
    client.log_in()
    first = in_der_form(certificate)
    assert shown(server) == first

    certificate.write_bytes(certificate.read_bytes()[:400])
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "Not reloaded" in server.log, "nothing about the broken certificate")
    assert "has no complete certificate" in server.log
    assert shown(server) == first

    write_certificate(tmp_path / "new.pem").rename(certificate)
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "Reloaded" in server.log, "no reload")
    assert shown(server) == in_der_form(certificate) != first
    client.call("server/info")
    assert server.terminate() == 0
    assert "Traceback" not in server.log


@pytest.fixture
def authority():
    """Who signs the certificates of clients."""
    return Authority()


@pytest.fixture
def clients(authority, tmp_path):
    """A certificate of that authority, and one of another with the same name."""
    files = []
    for name, signer in (("good.pem", authority), ("bad.pem", Authority())):
        files.append(tmp_path / name)
        files[-1].write_bytes(b"".join(signer.issue("device")))
    return files


def answer(server, client=None):
    """What a client with this certificate is answered; raises ssl.SSLError when it is refused, with the reason."""
    with connected(server, client) as secure:
        secure.sendall(GET)
        return secure.recv(100)[:12]


@pytest.mark.parametrize("mode", ["required", "optional"])
def test_certificates_of_clients(start, certificate, authority, clients, tmp_path, mode):
    (tmp_path / "authority.pem").write_bytes(authority.certificate)
    server = start(
        "--storage",
        "memory:",
        endpoint=ENDPOINT,
        DHTWISTED_TLS_CERTIFICATE=str(certificate),
        DHTWISTED_TLS_CLIENT_AUTHORITY=str(tmp_path / "authority.pem"),
        DHTWISTED_TLS_CLIENT_CERTIFICATE=mode,
    )
    good, bad = clients
    assert answer(server, good) == b"HTTP/1.1 200"
    with pytest.raises(ssl.SSLError, match=r"(?i)unknown.ca|decrypt error|bad.signature|certificate"):
        answer(server, bad)
    if mode == "optional":
        assert answer(server) == b"HTTP/1.1 200"
    else:
        with pytest.raises(ssl.SSLError, match=r"(?i)certificate.required"):
            answer(server)
    assert server.terminate() == 0
    assert "Traceback" not in server.log
    assert "Unhandled" not in server.log
