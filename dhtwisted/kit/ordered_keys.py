"""The keys of a table in order, so that a list can be read on from where its last portion ended."""

from bisect import bisect_left, bisect_right

_CLEAR_ABOVE = 1000
"""So many keys that are gone are not worth a walk through all of them."""


class OrderedKeys:
    """Keys in ascending order. Adding and removing cost next to nothing: the order is made when somebody walks, or half of them are gone.

    :param keys: the first of them, in any order. Whatever can be compared is a key.
    """

    __slots__ = ("_gone", "_keys", "_new")

    def __init__(self, keys=()):
        self._keys = sorted(keys)
        self._new = []
        self._gone = set()

    def add(self, key):
        """Take in a key; it must not be in."""
        if key in self._gone:
            self._gone.remove(key)
        else:
            self._new.append(key)

    def remove(self, key):
        """Take out a key; it must be in."""
        self._gone.add(key)
        if len(self._gone) > max(_CLEAR_ABOVE, (len(self._keys) + len(self._new)) // 2):
            self._keys = [key for key in (*self._keys, *self._new) if key not in self._gone]
            self._keys.sort()
            self._new.clear()
            self._gone.clear()

    def walk(self, descending=False, after=()):
        """Go through the keys. Among them may be some that were removed.

        :param after: empty, or a key, which need not be in, behind which to begin, in a tuple.
        """
        self._settle()
        low, high = 0, len(self._keys)
        if after and descending:
            high = bisect_left(self._keys, after[0])
        elif after:
            low = bisect_right(self._keys, after[0])
        positions = range(low, high)
        return map(self._keys.__getitem__, reversed(positions) if descending else positions)

    def walk_down_groups(self, width, after=()):
        """Go through keys that are tuples, descending by their first parts, and ascending within those that agree in them.

        :param width: how many parts those are.
        """
        self._settle()
        keys, high = self._keys, len(self._keys)
        if after:
            group = after[0][:width]
            high = bisect_left(keys, group)
            end = bisect_right(keys, group, high, key=lambda key: key[:width])
            yield from map(keys.__getitem__, range(bisect_right(keys, after[0], high, end), end))
        while high:
            low = bisect_left(keys, keys[high - 1][:width], 0, high)
            yield from map(keys.__getitem__, range(low, high))
            high = low

    def _settle(self):
        if self._new:
            # What is in order already costs the sort a look at each.
            self._keys += self._new
            self._new.clear()
            self._keys.sort()
