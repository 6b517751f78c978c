"""The certificate of ``tls:`` endpoints. It can be renewed while the server runs; open connections keep the old one."""

import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from OpenSSL import crypto
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger

from dhtwisted.config.settings import Settings, TlsSettings
from dhtwisted.errors import ConfigurationError
from dhtwisted.kit.text_files import BYTE_ORDER_MARK, without_byte_order_mark
from dhtwisted.transports.tls import TlsFactory

CIPHERS = (
    "ECDH+AESGCM:ECDH+CHACHA20:DH+AESGCM:DH+CHACHA20:ECDH+AES256:DH+AES256:ECDH+AES128:DH+AES:RSA+AESGCM:RSA+AES:!aNULL:!MD5:!DSS:!AESCCM8"
)
"""The ciphers of TLS 1.2 that Twisted recommends, without those whose check has 8 bytes, which OpenSSL before 3.2 takes; those of TLS 1.3
are all good."""

PROTOCOLS = ["http/1.1", "mqtt"]
"""What clients may ask for by ALPN."""


OF_ANOTHER_CERTIFICATE = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}
"""What OpenSSL says of a key that does not belong to the certificate; the last two of one of another kind, such as RSA and ECDSA."""


class Certificates:
    """The certificate that the server shows to its clients, and the authority that signs theirs.

    :ivar context: what new connections use.

    :raises ConfigurationError: a file cannot be read or has the wrong content, or the key belongs to another certificate.
    """

    log = Logger()

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        self._file_states = file_states(settings)
        self.context = make_context(settings)

    def wrap(self, factory: IProtocolFactory) -> TlsFactory:
        """Put TLS in front of a factory."""
        return TlsFactory(factory, lambda: self.context)

    def reloadable(self, settings: Settings) -> Callable[[], None]:
        """See :attr:`~dhtwisted.config.reloading.Reloading.reloadables`. The files are read again even if no option has changed."""
        states = file_states(settings.tls)
        context = make_context(settings.tls)

        def apply() -> None:
            is_new = states != self._file_states
            self._settings, self._file_states, self.context = settings.tls, states, context
            if is_new:
                self._log_new()

        return apply

    def reload_if_changed(self) -> None:
        """Read the files again if one has changed. If they cannot be used, that is logged once, and the old certificate stays.

        The self-checks call this every few seconds, so a timer that renews certificates need not send a signal.
        """
        states = file_states(self._settings)
        if states == self._file_states:
            return
        self._file_states = states
        try:
            self.context = make_context(self._settings)
        except ConfigurationError as error:
            self.log.error("The changed certificate cannot be used, the server keeps the old one: {reason}", reason=str(error))
        else:
            self._log_new()

    def _log_new(self) -> None:
        self.log.info("The certificate in {path} has changed; new connections use it", path=self._settings.certificate)


def file_states(settings: TlsSettings) -> dict[str, tuple[int, int, int] | None]:
    """The state of each file of the settings, which changes when the file is written or replaced.

    :returns: path -> time, size and inode; ``None`` for a missing file.
    """
    states: dict[str, tuple[int, int, int] | None] = {}
    for path in filter(None, (settings.certificate, settings.key, settings.client_authority)):
        try:
            status = os.stat(path)
        except OSError:
            states[path] = None
        else:
            states[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return states


def make_context(settings: TlsSettings, certificate_option: str = "tls.certificate", key_option: str = "tls.key") -> ssl.SSLContext:
    """Read the files. The context allows TLS 1.2 and 1.3 with the ciphers that Twisted recommends, and no renegotiation.

    :param settings: they have a certificate.
    :param certificate_option: the option that names the certificate, for the error.
    :param key_option: the option that names the key.
    :raises ConfigurationError: as for :class:`Certificates`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(PROTOCOLS)
    # Without tickets for another session, which cost 15 % of a handshake, and in TLS 1.2 its forward secrecy.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.num_tickets = 0
    _load_certificate(context, settings, certificate_option, key_option)
    if settings.client_authority:
        authorities = read_certificates("tls.client_authority", settings.client_authority)
        context.load_verify_locations(cadata=b"".join(crypto.dump_certificate(crypto.FILETYPE_ASN1, one) for one in authorities))
        context.verify_mode = ssl.CERT_REQUIRED if settings.client_certificate == "required" else ssl.CERT_OPTIONAL
    return context


def _load_certificate(context: ssl.SSLContext, settings: TlsSettings, certificate_option: str, key_option: str) -> None:
    # These say what is wrong with a file, which ssl does not.
    read_certificates(certificate_option, settings.certificate)
    key = settings.key or settings.certificate
    _check_key(key_option, key)
    with _readable_by_ssl(certificate_option, settings.certificate) as certificate_file, _readable_by_ssl(key_option, key) as key_file:
        try:
            # A key may have the empty passphrase. Without this argument OpenSSL would ask for it at the terminal.
            context.load_cert_chain(certificate_file, key_file, password="")
        except ssl.SSLError as error:
            if error.reason in OF_ANOTHER_CERTIFICATE:
                raise ConfigurationError(f"{key_option}: {key}: is not the key of {settings.certificate}") from error
            reason = (error.reason or str(error)).replace("_", " ").lower()
            raise ConfigurationError(f"{certificate_option}: {settings.certificate}: OpenSSL refuses it: {reason}") from error
        except OSError as error:
            raise ConfigurationError(f"{certificate_option}: {settings.certificate}: cannot be read with its key ({error})") from error


@contextmanager
def _readable_by_ssl(option: str, path: str) -> Iterator[str]:
    """The path of a file that OpenSSL can read: the given one, or if that begins with a byte order mark, one on no disk without it."""
    content = _bytes_of(option, path)
    if not content.startswith(BYTE_ORDER_MARK):
        yield path
        return
    try:
        number = os.memfd_create("tls")
    except OSError as error:
        reason = f"it begins with a byte order mark, which the server cannot take away here ({error.strerror}); save it without one"
        raise ConfigurationError(f"{option}: {path}: {reason}") from error
    with open(number, "wb", buffering=0) as file:
        file.write(content.removeprefix(BYTE_ORDER_MARK))
        yield f"/proc/self/fd/{number}"


def read_certificates(option: str, path: str) -> list[crypto.X509]:
    """Read all certificates of a PEM file.

    :param option: the option that names the file, for the error.
    :returns: at least one certificate.
    :raises ConfigurationError: there is none, or one is broken.
    """
    begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    parts = _read(option, path).split(begin)[1:]
    try:
        if not parts or any(end not in part for part in parts):
            raise ValueError
        return [crypto.load_certificate(crypto.FILETYPE_PEM, begin + part) for part in parts]
    except (crypto.Error, ValueError) as error:
        raise ConfigurationError(f"{option}: {path}: has no complete certificate in PEM form") from error


def _check_key(option: str, path: str) -> None:
    data = _read(option, path)
    try:
        # If the passphrase were missing, OpenSSL would ask for it at the terminal.
        crypto.load_privatekey(crypto.FILETYPE_PEM, data, passphrase=b"")
    except (crypto.Error, ValueError, TypeError) as error:
        raise ConfigurationError(f"{option}: {path}: has no complete private key in PEM form without a passphrase") from error


def _read(option: str, path: str) -> bytes:
    try:
        return without_byte_order_mark(_bytes_of(option, path))
    except ValueError as error:
        raise ConfigurationError(f"{option}: {path}: {error}") from error


def _bytes_of(option: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ConfigurationError(f"{option}: {path}: cannot be read ({error.strerror})") from error
