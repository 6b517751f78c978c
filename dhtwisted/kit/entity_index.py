"""Which entities have which values of some fields, so that what asks for these costs what it finds."""

from dhtwisted.model import Device, DeviceToken

INDEXED = {Device: [("network_id", "device_type_id"), ("name",)], DeviceToken: [("device_id",), ("user_id",)]}
"""Kind -> the fields of each of its indexes. Of two fields there are few pairs of values."""


class EntityIndex:
    """The keys of entities by their values of some fields.

    :param fields: a tuple of names.
    """

    def __init__(self, fields):
        self.fields = fields
        self._groups = {}

    def add(self, entity):
        """Take an entity in."""
        self._groups.setdefault(self._values(entity), {})[entity.key] = None

    def remove(self, entity):
        """Take an entity out; it must be in."""
        values = self._values(entity)
        group = self._groups[values]
        del group[entity.key]
        if not group:
            del self._groups[values]

    def find(self, query):
        """The groups of keys in which all are that an ``EntityQuery`` matches.

        :returns: a list of sized collections; ``None`` when the query asks for none of these fields.
        """
        wanted = [query.within.get(field) for field in self.fields]
        for place, field in enumerate(self.fields):
            if field in query.equal:
                wanted[place] = {query.equal[field]}
        if wanted == [None] * len(wanted):
            return None
        if len(wanted) == 1:
            return [self._groups[value,] for value in wanted[0] if (value,) in self._groups]
        return [
            group
            for values, group in self._groups.items()
            if all(some is None or value in some for some, value in zip(wanted, values, strict=True))
        ]

    def covers(self, query):
        """Tell whether what :meth:`find` finds is all that the query matches."""
        asked = [*query.equal, *query.within]
        return not query.like and len(asked) == len(set(asked)) and set(asked) <= set(self.fields)

    def _values(self, entity):
        return tuple(getattr(entity, field) for field in self.fields)
