"""The mark on a storage into which an import has begun and not ended: nobody may take what is there for everything.

It is a device, since devices have keys of text, and this one is a text that no client can give to a device. The server does not start on
such a storage, and it cannot be exported; the same import goes on where it ended.
"""

from dhtwisted.errors import ConfigurationError
from dhtwisted.model import Device

KEY = "unfinished import"


async def find_unfinished(storage):
    """Look for the mark.

    :param storage: an opened entity storage.
    :returns: the time of the export whose import has begun; ``None`` when there is no mark.
    """
    mark = await storage.get(Device, KEY)
    return None if mark is None else mark.name


async def refuse_unfinished(storage):
    """Let nobody use what an import has left half done.

    :raises ConfigurationError: there is the mark.
    """
    time = await find_unfinished(storage)
    if time is not None:
        raise ConfigurationError(
            f"the storage holds a part of the export of {time}, whose import did not end. If that export is whole, run devicehive import "
            "with it again; if it is damaged, delete this storage and import a good export into a new one; or name another storage"
        )


async def mark_unfinished(storage, time):
    """Put the mark on a storage.

    :param time: of the export.
    :raises Duplicate: another import has just done so.
    """
    await storage.insert(Device(id=KEY, name=time, network_id=0, device_type_id=0))


async def unmark(storage):
    """Take the mark away: everything is there."""
    await storage.delete(Device, KEY)
