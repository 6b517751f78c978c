"""A cache whose entries weigh what they hold: bounded in number and in bytes."""


class Weighed(dict):
    """Entries in the order in which they were kept; above a bound those go that were kept first. What is to stay is kept again.

    :param most: entries.
    :param most_bytes: of all of them.
    :param size_of: how many bytes an entry weighs, as a function of its key and value.
    :ivar size: bytes of all that are here.
    """

    def __init__(self, most, most_bytes, size_of):
        super().__init__()
        self._most = most
        self._most_bytes = most_bytes
        self._size_of = size_of
        self.size = 0

    def keep(self, key, value):
        """Take an entry in, in place of one with this key. One that is heavier than all may be together is not kept."""
        self.forget(key)
        self[key] = value
        self.size += self._size_of(key, value)
        while len(self) > self._most or self.size > self._most_bytes:
            self.forget(next(iter(self)))

    def forget(self, key):
        """Let go of an entry, if it is here."""
        if key in self:
            self.size -= self._size_of(key, self.pop(key))

    def clear(self):
        """Let go of all."""
        super().clear()
        self.size = 0
