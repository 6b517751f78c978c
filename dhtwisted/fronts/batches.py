"""Gathers the requests of one read that are done together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dhtwisted.actions import ACTIONS
from dhtwisted.actions.lookups import cached_device

if TYPE_CHECKING:
    from dhtwisted.core.batches import Batch

ACTIONS_BY_FIELDS = {action.fields: action for action in ACTIONS.values()}

LARGEST_BATCH = 64
"""Requests in a batch. A read has up to sixteen; what was read when a connection has ended is taken without a limit."""


def has_batch_form(message: Any) -> bool:
    """Whether a message that was decoded, or refused, can be done together with others."""
    action = ACTIONS_BY_FIELDS.get(type(message))
    return action is not None and action.batching is not None


def gather(batch: Batch, requests: Iterable[Any]) -> None:
    """Take requests into a batch, up to the first one that must be done alone.

    :param batch: empty.
    :param requests: each decoded, or the :class:`~dhtwisted.wire.envelope.Refused` about it.
    """
    actions, messages, principal = batch.actions, batch.messages, batch.principal
    kind = action = device = device_id = None
    prepare: Any = None
    for fields in requests:
        try:
            if type(fields) is not kind:
                kind = type(fields)
                action = ACTIONS_BY_FIELDS.get(kind)
                if action is None or action.batching is None:
                    return
                principal.require(action.permissions)
                batch.has_updates = batch.has_updates or action.batching.kind.is_update
                prepare = action.batching.prepare
            if fields.token is not None:
                return
            if device is None or fields.device_id != device_id:
                device_id = fields.device_id
                device = cached_device(batch, device_id)
                if device is None:
                    return
            messages.append(prepare(batch, fields, device))
        except Exception:
            # It raises the same again when it is done alone, and is answered there.
            return
        actions.append(action)
