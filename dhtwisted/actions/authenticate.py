"""Identity of a connection: ``authenticate``."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from dhtwisted.actions.audit import Refusals
from dhtwisted.actions.table import action
from dhtwisted.core.client import ISubscriber
from dhtwisted.core.server import Request
from dhtwisted.wire.fields import Fields
from dhtwisted.wire.members import REQUIRED


class Authenticate(Fields, tag="authenticate"):
    """``token``: an access token. The firmware adds a ``deviceId``, which is ignored."""

    token: Annotated[str | None, Meta(description="an access token"), REQUIRED] = None


@action(Authenticate, own_token=True, audit=Refusals())
async def authenticate(request: Request[Authenticate]) -> None:
    """Give the connection the identity of an access token, in place of an earlier one. Subscriptions stay, with the new rights.

    WebSocket reference, section 3.2. A failure leaves the earlier identity in place.
    """
    principal = await request.server.authentication.by_token(request.fields.token)
    request.check_in_time()
    ISubscriber(request.session).authenticated(principal)
    request.server.logins.note(principal.user)
