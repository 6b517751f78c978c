"""The mark on a storage whose import has begun and not ended, so that nobody takes a part of the data for all of it.

The mark is a device with an id that no client can give to a device. The server does not start on a storage with this mark, and such a
storage cannot be exported. The same import continues where it stopped.
"""

from dhtwisted.errors import ConfigurationError
from dhtwisted.interfaces import IEntityStorage
from dhtwisted.model import Device

KEY = "unfinished import"


async def find_unfinished(storage: IEntityStorage) -> str | None:
    """Look for the mark.

    :param storage: an opened storage.
    :returns: the time of the export whose import has begun; ``None`` if there is no mark.
    """
    mark = await storage.get(Device, KEY)
    return None if mark is None else mark.name


async def refuse_unfinished(storage: IEntityStorage) -> None:
    """Raise an error if the storage has only a part of an import.

    :param storage: an opened storage.
    :raises ConfigurationError: the storage has the mark.
    """
    time = await find_unfinished(storage)
    if time is not None:
        raise ConfigurationError(
            f"the storage has only a part of the export of {time}, because the import did not end. If that export is complete, run "
            "devicehive import with it again. If it is damaged, delete this storage and import a good export into a new one. "
            "Or name another storage"
        )


async def mark_unfinished(storage: IEntityStorage, time: str) -> None:
    """Put the mark on a storage.

    :param storage: an opened storage.
    :param time: the time of the export.
    :raises Duplicate: another import has just done so.
    """
    await storage.insert(Device(id=KEY, name=time, network_id=0, device_type_id=0))


async def unmark(storage: IEntityStorage) -> None:
    """Remove the mark: the import is complete."""
    await storage.delete(Device, KEY)
