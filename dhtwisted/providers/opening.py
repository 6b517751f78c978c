"""Opens the storages that the configuration names, for the server and for the commands of the shell."""

from collections.abc import Awaitable, Callable
from typing import Any

from dhtwisted.errors import ProviderError
from dhtwisted.interfaces import IFileProvider, ILossNoticing, IStorage, ProviderContext
from dhtwisted.providers.lookup import find, naming, open_provider


def data_file(role: str, specification: str) -> str | None:
    """Find the file in which a storage keeps its data.

    :param role: ``storage`` or ``messages``.
    :param specification: as in the configuration, such as ``file:PATH``.
    :returns: its absolute path; ``None`` for a storage that is not in one file, and where there is no such provider.
    """
    try:
        provider, argument = find(role, specification)
    except ProviderError:
        return None
    if not IFileProvider.providedBy(provider):
        return None
    with naming(role, specification):
        return provider.data_file(argument)


async def open_storages(
    reactor: Any, settings: Any, at_stop: Callable[[str, Callable[[], Awaitable[None]]], object], accepts_loss: bool = False
) -> tuple[IStorage, Any]:
    """Open the storage, and the storage of messages if the configuration names one.

    :param reactor: for the providers.
    :param settings: a ``config.settings.Settings``.
    :param at_stop: called as ``at_stop(role, close)`` for each of them, before it is opened.
    :param accepts_loss: open them even if acknowledged data are missing. Only an :class:`~dhtwisted.interfaces.ILossNoticing` knows it.
    :returns: the storage of entities, and the ``IMessageStorage``, which may be the same object.
    :raises ConfigurationError: one of them cannot work as configured.
    """
    storage = await _open(reactor, settings, at_stop, accepts_loss, "storage", settings.storage.provider)
    if not settings.storage.messages:
        return storage, storage
    return storage, await _open(reactor, settings, at_stop, accepts_loss, "messages", settings.storage.messages)


async def _open(
    reactor: Any,
    settings: Any,
    at_stop: Callable[[str, Callable[[], Awaitable[None]]], object],
    accepts_loss: bool,
    role: str,
    specification: str,
) -> Any:
    storage = open_provider(role, specification, ProviderContext(reactor, settings))
    at_stop(role, storage.close)
    if accepts_loss and ILossNoticing.providedBy(storage):
        storage.accept_loss()
    with naming(role, specification):
        await storage.open()
    return storage
