"""Opens the storages that the configuration names, for whoever works on them."""

import os

from dhtwisted.interfaces import ILossNoticing, ProviderContext
from dhtwisted.providers.lookup import naming, open_provider


def file_path(specification):
    """The path of a ``file:`` storage; ``None`` for any other."""
    name, _, argument = specification.partition(":")
    return os.path.realpath(argument) if name == "file" else None


async def open_storages(reactor, settings, at_stop, accepts_loss=False):
    """Open the storage, and that of messages if the configuration names one.

    :param reactor: for the providers.
    :param settings: a :class:`~dhtwisted.config.settings.Settings`.
    :param at_stop: called as ``at_stop(role, close)`` with the way to close each of them, before it is opened.
    :param accepts_loss: open them also where something is missing that was acknowledged, as far as they notice it.
    :returns: the ``IStorage`` and the ``IMessageStorage``, which may be the same object.
    :raises ConfigurationError: one of them cannot work as configured.
    """
    storage = await _open(reactor, settings, at_stop, accepts_loss, "storage", settings.storage.provider)
    if not settings.storage.messages:
        return storage, storage
    return storage, await _open(reactor, settings, at_stop, accepts_loss, "messages", settings.storage.messages)


async def _open(reactor, settings, at_stop, accepts_loss, role, specification):
    storage = open_provider(role, specification, ProviderContext(reactor, settings))
    at_stop(role, storage.close)
    if accepts_loss and ILossNoticing.providedBy(storage):
        storage.accept_loss()
    with naming(role, specification):
        await storage.open()
    return storage
