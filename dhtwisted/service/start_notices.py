"""Log lines of a start about the data: where they are, and what is missing in them."""

import os
from collections.abc import Mapping

from twisted.logger import Logger

from dhtwisted.config.settings import StorageSettings
from dhtwisted.interfaces import ILossNoticing, IStorage
from dhtwisted.logs.audit import Audit
from dhtwisted.logs.masking import mask
from dhtwisted.service.bootstrap import password_file

log = Logger()


def log_data(settings: StorageSettings, storage: IStorage, messages: IStorage) -> None:
    """Log where the data are, and whether the first password still lies beside them.

    :param storage: the opened storage of entities.
    :param messages: the opened storage of messages; may be the same object.
    """
    for opened, specification in {messages: settings.messages, storage: settings.provider}.items():
        directory = getattr(opened, "state_directory", None)
        place = mask(specification) if directory is None else f"{mask(specification)} in {os.path.abspath(directory)}"
        if opened.durability == "volatile":
            log.info("Data: {place}, gone when the server stops", place=place)
        else:
            log.info("Data: {place}", place=place)
    path = password_file(storage.state_directory)
    if path is not None:
        log.warn("The first password is still in {path}; read it, then delete the file", path=str(path))


def log_losses(storages: Mapping[str, IStorage], audit: Audit) -> None:
    """Log what is missing in the data, after a start with ``--accept-loss``.

    :param storages: role -> opened storage.
    """
    log.warn("Started with --accept-loss: remove the option before the next start, because with it the server starts after any loss")
    for role, storage in storages.items():
        for loss in storage.losses if ILossNoticing.providedBy(storage) else ():
            log.warn("{part}: the data {loss}", part=role, loss=loss)
            audit.lost_data(role, loss)
