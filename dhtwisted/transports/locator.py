"""The paths of the server, and the addresses that ``info`` gives to clients."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from dhtwisted.errors import NoSuchPath
from dhtwisted.transports.forwarding import public_authority

if TYPE_CHECKING:
    from dhtwisted.config.settings import ServerSettings
    from dhtwisted.transports.forwarding import Client


class Locator:
    """Knows the addresses of WebSocket and REST for clients.

    :param settings: the ``[server]`` section.
    :param has_mqtt: whether there is MQTT over WebSocket.
    """

    def __init__(self, settings: ServerSettings, has_mqtt: bool = False) -> None:
        self._public_url = settings.public_url.rstrip("/")
        self._prefixes = [prefix.rstrip("/") for prefix in settings.prefixes]
        self._websockets = {prefix + path: prefix for prefix in self._prefixes for path in ("/client", "/device", "/websocket")}
        self._mqtt = {prefix + "/mqtt": prefix for prefix in self._prefixes} if has_mqtt else {}
        bases = {prefix + base: prefix for prefix in self._prefixes for base in ("", "/rest")}
        first = self._prefixes[0] if self._prefixes else ""
        bases |= {base: first for base in ("", "/auth/rest", "/plugin/rest") if base not in bases}
        self._bases = {tuple(base.split("/")[1:]): prefix for base, prefix in bases.items()}
        self._longest = max(map(len, self._bases))

    def is_websocket(self, path: str) -> bool:
        """Whether clients may open a WebSocket here.

        :raises NoSuchPath: it is no text.
        """
        return _normal(path) in self._websockets or self.is_mqtt(path)

    def is_mqtt(self, path: str) -> bool:
        """Whether such a WebSocket carries MQTT.

        :raises NoSuchPath: it is no text.
        """
        return bool(self._mqtt) and _normal(path) in self._mqtt

    def resource(self, path: str) -> tuple[str, str, list[str]]:
        """Take a path apart.

        :param path: text, percent-encoded.
        :returns: the prefix of its WebSocket, the longest base that it has, and the decoded parts below that.
        :raises NoSuchPath: it is no text.
        """
        parts = _parts(path)
        prefix: str | None
        for length in range(min(self._longest, len(parts)), -1, -1):
            prefix = self._bases.get(tuple(parts[:length]))
            if prefix is not None:
                break
        assert prefix is not None, "there is a base without parts"
        return prefix, "".join("/" + part for part in parts[:length]), parts[length:]

    def rest_url(self, path: str, client: Client, host: str | None, secure: bool) -> str:
        """The address of the REST API for a WebSocket client.

        :param client: a :class:`~dhtwisted.transports.forwarding.Client`.
        :param host: the header ``Host``, if there is one.
        :param secure: whether the connection itself has TLS.
        """
        path = _normal(path)
        return self._address("http", client, host, secure) + (self._websockets.get(path) or self._mqtt.get(path, "")) + "/rest"

    @property
    def public_rest_url(self) -> str:
        """The address of the REST API for a client that has used no address of HTTP; empty without ``server.public_url``."""
        return self._public_url and self._public_url + (self._prefixes[0] if self._prefixes else "") + "/rest"

    def websocket_url(self, prefix: str, client: Client, host: str | None, secure: bool) -> str:
        """The address of the WebSocket for a REST client; the parameters are those of :meth:`rest_url`."""
        return self._address("ws", client, host, secure) + prefix + "/websocket"

    def _address(self, scheme: str, client: Client, host: str | None, secure: bool) -> str:
        if self._public_url:
            return scheme + self._public_url.removeprefix("http")
        public_scheme, authority = public_authority(client, host, secure)
        return f"{scheme}{public_scheme.removeprefix('http')}://{authority}"


def _parts(path: str) -> list[str]:
    """The decoded parts of a path. Repeated and trailing slashes are none: the firmware asks for ``//info``."""
    try:
        return [unquote_to_bytes(part).decode() if "%" in part else part for part in path.partition("?")[0].split("/") if part]
    except UnicodeDecodeError:
        raise NoSuchPath() from None


def _normal(path: str) -> str:
    return "".join("/" + part for part in _parts(path))
