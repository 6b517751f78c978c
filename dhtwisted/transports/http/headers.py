"""Headers that REST and the handshake of a WebSocket both have, by one rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dhtwisted.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Sequence


def single(values: Sequence[bytes], name: bytes) -> str | None:
    """A header as text, which may hold any bytes; ``None`` when it is absent.

    :param values: its values, a sequence of bytes.
    :param name: what it is called, bytes.
    :raises BadRequest: it is repeated, so that it cannot be said what was meant.
    """
    if len(values) > 1:
        raise BadRequest(detail=f"the header {name.decode()} must appear only once")
    return values[0].decode("latin-1") if values else None


def read_origin(values: Sequence[bytes]) -> str | None:
    """The page that asks, when it is a browser; else ``None``. Of several none is the page, and together they are on no list.

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
