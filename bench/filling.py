"""What a full storage holds, and the program that puts it into a file: ``python -m bench.filling FILE BEGIN COUNT DEVICES``."""

import sys
from dataclasses import dataclass

ASKED = "asked"
SHARE = 100
"""One message in so many is of the device that is asked for."""

DAY = 24 * 3600 * 1000
BATCH = 1000


@dataclass(frozen=True)
class Filling:
    """Messages of a day, numbered from 0.

    :ivar now: the end of the day, milliseconds since 1970.
    :ivar count: how many there are.
    :ivar devices: how many devices have the others.
    """

    now: int
    count: int
    devices: int

    def device_id(self, number):
        """Whose message it is."""
        return f"o-{number % self.devices:06d}" if number % SHARE else ASKED

    def timestamp(self, number):
        """When it was sent, in milliseconds."""
        return self.now - DAY + number * DAY // self.count

    def newest(self, count):
        """The numbers of the newest messages of the device that is asked for, ascending."""
        last = (self.count - 1) // SHARE * SHARE
        return list(range(last - (count - 1) * SHARE, last + 1, SHARE))

    def since(self, count):
        """The time from which on that device has so many, in milliseconds."""
        return self.timestamp(self.newest(count)[0])

    def requests(self):
        """Requests that insert all of them, as bytes."""
        for number in range(self.count):
            yield (
                f'{{"action":"notification/insert","requestId":1,"deviceId":"{self.device_id(number)}","notification":{{"notification":'
                f'"temperature","timestamp":{self.timestamp(number)},"parameters":{{"t":20.5,"p":29.92,"n":{number}}}}}}}'
            ).encode()

    def messages(self, first, size=BATCH):
        """A batch of them, for a storage.

        :param size: how many; the last batch may have fewer.
        """
        from dhtwisted.model import Notification

        return [
            Notification(
                name="temperature",
                device_id=self.device_id(number),
                network_id=1,
                device_type_id=1,
                parameters=b'{"t":20.5,"p":29.92,"n":%d}' % number,
                timestamp=self.timestamp(number),
            )
            for number in range(first, min(first + size, self.count))
        ]


async def fill(path, filling, reactor):
    """Put everything into a file that a server has made."""
    from dhtwisted.providers.sqlite.storage import FileStorage

    storage = FileStorage(path, reactor)
    await storage.open()
    try:
        for first in range(0, filling.count, BATCH):
            await storage.append(filling.messages(first))
    finally:
        await storage.close()


def main(path, *numbers):
    """Fill a file, and end."""
    from twisted.internet.defer import Deferred
    from twisted.internet.task import react

    react(lambda reactor: Deferred.fromCoroutine(fill(path, Filling(*map(int, numbers)), reactor)))


if __name__ == "__main__":
    main(*sys.argv[1:])
