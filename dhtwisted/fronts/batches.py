"""Gathers the requests of one read that are done together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dhtwisted.actions import ACTIONS
from dhtwisted.actions.lookups import cached_device
from dhtwisted.wire.envelope import Refused

if TYPE_CHECKING:
    from dhtwisted.core.batches import Batch
    from dhtwisted.wire.fields import Fields

ACTIONS_BY_FIELDS = {action.fields: action for action in ACTIONS.values()}

LARGEST_BATCH = 64
"""Requests in a batch. A read has up to sixteen; what was read when a connection has ended is taken without a limit."""


def has_batch_form(message: Any) -> bool:
    """Whether a message that was decoded, or refused, can be done together with others."""
    action = ACTIONS_BY_FIELDS.get(type(message))
    return action is not None and action.batching is not None


def gather(batch: Batch, decode: Callable[[bytes], Fields], texts: Sequence[bytes], first: Fields) -> Fields | Refused | None:
    """Decode messages and take them into a batch, up to the first one that must be done alone.

    :param batch: empty.
    :param first: the first of the messages, which is decoded already.
    :returns: the message that must be done alone; ``None`` if there is none.
    """
    actions, requests, messages, principal = batch.actions, batch.fields, batch.messages, batch.principal
    device = device_id = permitted = None
    batch.texts = texts
    fields: Any = first
    rest = iter(texts[1:])
    while True:
        action = ACTIONS_BY_FIELDS[type(fields)]
        batching = action.batching
        if batching is None or fields.token is not None:
            return fields
        if device is None or fields.device_id != device_id:
            device_id = fields.device_id
            device = cached_device(batch, device_id)
            if device is None:
                return fields
        try:
            if action is not permitted:
                principal.require(action.permissions)
                permitted = action
                batch.has_updates = batch.has_updates or batching.kind.is_update
            message = batching.prepare(batch, fields, device)
        except Exception:
            # It raises the same again when it is done alone, and is answered there.
            return fields
        actions.append(action)
        requests.append(fields)
        messages.append(message)
        text = next(rest, None)
        if text is None:
            return None
        try:
            fields = decode(text)
        except Refused as refused:
            return refused
