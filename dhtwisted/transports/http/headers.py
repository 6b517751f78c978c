"""Headers that REST and the WebSocket handshake read by the same rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dhtwisted.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Sequence


def single(values: Sequence[bytes], name: bytes) -> str | None:
    """A header as text, decoded as Latin-1; ``None`` if it is absent.

    :param values: the values of the header.
    :param name: the name of the header.
    :raises BadRequest: the header is repeated, so its value is ambiguous.
    """
    if len(values) > 1:
        raise BadRequest(detail=f"the header {name.decode()} must appear only once")
    return values[0].decode("latin-1") if values else None


def read_origin(values: Sequence[bytes]) -> str | None:
    """The origin of the page that a browser sends; ``None`` if absent. Several values are joined, so they match no list.

    :param values: the values of ``Origin``, a sequence of bytes.
    """
    return b", ".join(values).decode("latin-1") if values else None


def path_of(target: str) -> str:
    """The path of a request's target, which a proxy may send as a whole URL. Its query stays.

    :param target: text.
    """
    if not target.startswith(("http://", "https://")):
        return target
    return "/" + target.split("/", 3)[3] if target.count("/") > 2 else "/"
