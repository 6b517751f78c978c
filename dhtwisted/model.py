"""What the server keeps: entities (few, unique keys, changed) and messages (many, appended, expired).

An entity is a frozen struct with class attributes that let a storage treat all kinds alike: ``KIND``, its name in records; ``KEY``, the
field that identifies it; ``UNIQUE``, further fields in which no two of the kind may agree; ``LARGE``, those that clients may make as large
as they like; ``OWNER``, the one with the id of the user for whom it counts. Times are integer milliseconds since 1970 UTC. A field that
holds "any JSON" is ``bytes``: the text exactly as the client sent it, never parsed on the way; ``None`` is the absent value and JSON null
alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Literal, TypeVar
from unicodedata import normalize

from msgspec import Struct
from msgspec.structs import replace

T = TypeVar("T")


class Entity(Struct, frozen=True, kw_only=True):
    """Base of the entities. An integer key of 0 means: the storage gives one at insert."""

    KIND: ClassVar[str]
    KEY: ClassVar[str] = "id"
    UNIQUE: ClassVar[tuple[str, ...]] = ()
    LARGE: ClassVar[tuple[str, ...]] = ()
    OWNER: ClassVar[str] = ""

    @property
    def key(self) -> int | str:
        """The value that identifies this entity among its kind."""
        return getattr(self, self.KEY)

    @property
    def owner(self) -> int | None:
        """The id of the user for whom it counts; ``None`` for nobody."""
        return getattr(self, self.OWNER) if self.OWNER else None


class Holding(Struct, frozen=True):
    """What there is of one kind that counts for one user.

    :ivar count: how many entities.
    :ivar size: the sum of their :func:`entity_size`.
    """

    count: int = 0
    size: int = 0


ADMINISTRATOR, CLIENT = 0, 1
ACTIVE, LOCKED_OUT, DISABLED = 0, 1, 2


def fold_login(login: str) -> str:
    """What no two logins may have in common: the login without upper case and without differences of Unicode form."""
    return normalize("NFKC", normalize("NFKC", login).casefold())


def alike(logins: Iterable[str]) -> list[list[str]]:
    """Those among logins that differ in case or Unicode form alone, each with its likes."""
    groups: dict[str, list[str]] = {}
    for login in logins:
        groups.setdefault(fold_login(login), []).append(login)
    return [sorted(group) for group in groups.values() if len(group) > 1]


class User(Entity, frozen=True, kw_only=True):
    """Somebody who logs in. ``password`` is a ``$scheme$`` string of :mod:`dhtwisted.providers.jwt.passwords` and never leaves the server.

    :ivar valid_from: tokens that carry a lower number are no good any more. 0 at first; raised by :class:`Raised`, never lowered.
    :ivar login_key: the login as :func:`fold_login` gives it. ``None`` of users of older releases: the server fills it in when it starts,
        and it stays ``None`` where another user has that key.
    :ivar known_addresses: where this user has come in by password: network addresses (IPv6: the /64) and milliseconds, the oldest first.
        No client sees them.
    """

    KIND: ClassVar[str] = "user"
    UNIQUE: ClassVar[tuple[str, ...]] = ("login", "login_key")
    LARGE: ClassVar[tuple[str, ...]] = ("data", "network_ids", "device_type_ids")

    login: str
    password: str = ""
    role: int = CLIENT
    status: int = ACTIVE
    id: int = 0
    data: bytes | None = None
    intro_reviewed: bool = False
    last_login: int | None = None
    all_device_types_available: bool = True
    network_ids: frozenset[int] = frozenset()
    device_type_ids: frozenset[int] = frozenset()
    valid_from: int = 0
    login_key: str | None = None
    known_addresses: tuple[tuple[str, int], ...] = ()

    def accepts(self, claims: Claims) -> bool:
        """Tell whether a token of his still counts: he is active, and has not taken it back since it was made."""
        return self.status == ACTIVE and claims.valid_from >= self.valid_from


class Network(Entity, frozen=True, kw_only=True):
    """A group of devices to which users are assigned.

    :ivar owner_id: who made it, for quotas alone; it gives no rights. ``None`` where nobody knows.
    """

    KIND: ClassVar[str] = "network"
    UNIQUE: ClassVar[tuple[str, ...]] = ("name",)
    OWNER: ClassVar[str] = "owner_id"

    name: str
    description: str | None = None
    id: int = 0
    owner_id: int | None = None


class DeviceType(Entity, frozen=True, kw_only=True):
    """A kind of device to which users may be restricted. ``owner_id`` as in :class:`Network`."""

    KIND: ClassVar[str] = "devicetype"
    UNIQUE: ClassVar[tuple[str, ...]] = ("name",)
    OWNER: ClassVar[str] = "owner_id"

    name: str
    description: str | None = None
    id: int = 0
    owner_id: int | None = None


class Device(Entity, frozen=True, kw_only=True):
    """What receives commands and sends notifications. ``id`` is the client's own text; ``owner_id`` as in :class:`Network`."""

    KIND: ClassVar[str] = "device"
    LARGE: ClassVar[tuple[str, ...]] = ("data",)
    OWNER: ClassVar[str] = "owner_id"

    id: str
    name: str
    network_id: int
    device_type_id: int
    data: bytes | None = None
    is_blocked: bool = False
    owner_id: int | None = None


class Configuration(Entity, frozen=True, kw_only=True):
    """A named text that clients may keep on the server."""

    KIND: ClassVar[str] = "configuration"
    UNIQUE: ClassVar[tuple[str, ...]] = ("name",)

    name: str
    value: str
    entity_version: int = 1
    id: int = 0


class DeviceToken(Entity, frozen=True, kw_only=True):
    """That tokens were made which are good for one device alone. They are good while this is there.

    :ivar id: made up by whoever makes the record, so that it never comes again.
    :ivar user_id: whose rights they have, cut down to that device.
    :ivar label: what their maker calls them.
    :ivar expires: when the last of them ends.
    """

    KIND: ClassVar[str] = "devicetoken"
    OWNER: ClassVar[str] = "user_id"

    device_id: str
    user_id: int
    created: int
    expires: int
    label: str | None = None
    id: int = 0


class StoredBytes(Entity, frozen=True, kw_only=True):
    """How much was stored on one day for a quota. Rows of other days are deleted.

    :ivar id: whose: ``user 3`` or ``device pump-4``, behind the day, as in ``20260102 user 3``.
    :ivar size: bytes, those of all servers.
    """

    KIND: ClassVar[str] = "storedbytes"

    id: str
    size: int


class With(Struct, frozen=True):
    """As the new value of a field that holds a set: what it has, and these."""

    elements: frozenset


class Without(Struct, frozen=True):
    """As the new value of a field that holds a set: what it has, but for these."""

    elements: frozenset


class Raised(Struct, frozen=True):
    """As the new value of a field that holds a number: ``to``, but in any case more than it has. However many raise it at once, it never
    falls, and each of them raises it.

    :ivar to: what it becomes at least.
    :ivar when: the name of another field in the same change: the number is raised only if that field had another value than it gets. Empty:
        in any case.
    """

    to: int
    when: str = ""


class Added(Struct, frozen=True):
    """As the new value of a field that holds a number: what it has, and so much more, or less. However many add at once, all count."""

    amount: int


def changed(entity, changes):
    """Make the entity that a change leads to; every storage can update by this.

    :param changes: field name -> new value, :class:`With`, :class:`Without`, :class:`Raised` or :class:`Added`.
    """
    return replace(entity, **{name: _value(entity, name, changes) for name in changes})


def _value(entity, name, changes):
    old, change = getattr(entity, name), changes[name]
    if isinstance(change, With):
        return old | change.elements
    if isinstance(change, Added):
        return old + change.amount
    if isinstance(change, Raised):
        is_raised = not change.when or changes[change.when] != getattr(entity, change.when)
        return max(old + 1, change.to) if is_raised else old
    return old - change.elements if isinstance(change, Without) else change


ENTITY_KINDS: dict[str, type[Entity]] = {
    kind.KIND: kind for kind in (User, Network, DeviceType, Device, Configuration, DeviceToken, StoredBytes)
}


class Command(Struct, gc=False, kw_only=True):
    """Something a device is asked to do. ``id``, ``arrived``, ``last_updated`` and an absent ``timestamp`` are filled in by the storage.

    ``updated`` becomes true with the first ``command/update``; ``last_updated`` is the time of the last one. ``arrived`` is the storage's
    time when it was stored, whatever ``timestamp`` its client gave; no client sees it. Nor do they see ``update_id``, the number of its
    last update among all updates of commands in this storage; 0 as long as it has none.
    """

    KIND: ClassVar[str] = "command"

    name: str
    device_id: str
    network_id: int
    device_type_id: int
    user_id: int | None = None
    parameters: bytes | None = None
    lifetime: int | None = None
    status: str | None = None
    result: bytes | None = None
    timestamp: int | None = None
    arrived: int | None = None
    last_updated: int | None = None
    updated: bool = False
    update_id: int = 0
    id: int = 0


class Notification(Struct, gc=False, kw_only=True):
    """Something a device tells. ``id``, ``arrived`` and an absent ``timestamp`` are filled in by the storage, as those of a command."""

    KIND: ClassVar[str] = "notification"

    name: str
    device_id: str
    network_id: int
    device_type_id: int
    parameters: bytes | None = None
    timestamp: int | None = None
    arrived: int | None = None
    id: int = 0


Message = Command | Notification
MESSAGE_KINDS: dict[str, type] = {kind.KIND: kind for kind in (Command, Notification)}


ELEMENT_SIZE = 8


class EntityQuery(Struct, frozen=True, kw_only=True):
    """Which entities of one kind, and in which order. Conditions combine with AND; field names are those of the entity.

    :ivar equal: field -> exact value.
    :ivar like: field -> SQL LIKE pattern: ``%`` any text, ``_`` one character, case sensitive, no escape character.
    :ivar within: field -> permitted values; an empty set permits none.
    :ivar sort: a field, absent values first, texts by code point; the key breaks ties (ascending), and is the order when this is empty.
    :ivar after: the :meth:`place` of an entity in this order, whether it is still there or not: only those that come behind it. A list that
        is read in portions goes on so: what is inserted or deleted meanwhile moves nobody else.
    :ivar take: at most so many; ``None`` for all. Applied after sorting, ``after`` and ``skip``.
    :ivar size: an answer may end behind the entity with which all of its :func:`entity_size` reach so many bytes, not before. A storage
        that has its entities elsewhere than in this process should end there: a hundred devices may have a megabyte each. ``None`` for no
        such end.
    """

    equal: dict[str, Any] = {}
    like: dict[str, str] = {}
    within: dict[str, frozenset] = {}
    sort: str = ""
    descending: bool = False
    after: tuple = ()
    skip: int = 0
    take: int | None = None
    size: int | None = None

    def place(self, entity: Entity) -> tuple:
        """Where an entity is in the order of this query: its key, behind the value of the field that is sorted by, if that is another."""
        return (entity.key,) if self.sort in ("", entity.KEY) else (getattr(entity, self.sort), entity.key)


def entity_size(entity: Entity) -> int:
    """Bytes of what clients may make as large as they like: of JSON, and :data:`ELEMENT_SIZE` for each element of a set."""
    size = 0
    for field in entity.LARGE:
        value = getattr(entity, field)
        if value is not None:
            size += ELEMENT_SIZE * len(value) if isinstance(value, frozenset) else len(value)
    return size


def head_of(found: Iterable[T], size: int, size_of: Callable[[T], int]) -> Iterator[T]:
    """The first of some entities or messages, up to the one with which they have so many bytes together: what ``size`` of a query asks for.

    :param size_of: :func:`entity_size` or :func:`payload_size`.
    """
    for each in found:
        yield each
        size -= size_of(each)
        if size <= 0:
            return


def cut_to_size(found: list[T], size: int, size_of: Callable[[T], int]) -> list[T]:
    """The same as a list, of a list, which is nearly always all of it."""
    return found if sum(map(size_of, found)) < size else list(head_of(found, size, size_of))


class MessageQuery(Struct, frozen=True, kw_only=True):
    """Which messages of one kind, and in which order. Conditions combine with AND.

    :ivar device_ids: of these devices; ``None`` for all, an empty tuple for none.
    :ivar names: with one of these names; ``None`` for all.
    :ivar status: commands alone: with this status, ignoring case: ``str.casefold()`` of both is equal.
    :ivar updated: commands alone: only those that have been updated.
    :ivar by_update: commands alone, and only together with ``updated``: ``last_updated`` takes the place of ``timestamp`` in ``since``,
        ``before``, ``after`` and the order. A poll for updates asks so, of any devices, and must not cost a walk through all commands.
    :ivar by_arrival: ``arrived`` takes the place of ``timestamp`` in ``since``, ``before``, ``after`` and the order. What is forgotten goes
        by it, since a client may date its message at will.
    :ivar since: ``timestamp`` at or after this.
    :ivar before: ``timestamp`` before this.
    :ivar after: ``(timestamp, id)`` of a message: only those that come later in ascending ``(timestamp, id)``.
    :ivar sort: ``timestamp``, ``name`` or ``status``, texts by code point, an absent status first; ties by ``(timestamp, id)``.
    :ivar descending: the exact reverse of the ascending order.
    :ivar behind: the :meth:`place` of a message in this order, whether it is still there or not: only those that come behind it. A list
        that is read in portions goes on so, whatever it is sorted by.
    :ivar take: at most so many; ``None`` for all. Applied after sorting, ``behind`` and ``skip``.
    :ivar size: an answer may end behind the message with which all of its :func:`payload_size` reach so many bytes, not before. A storage
        that has its messages elsewhere than in this process should end there. ``None`` for no such end.
    """

    device_ids: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    status: str | None = None
    updated: bool = False
    by_update: bool = False
    by_arrival: bool = False
    since: int | None = None
    before: int | None = None
    after: tuple[int, int] | None = None
    sort: str = "timestamp"
    descending: bool = False
    behind: tuple | None = None
    skip: int = 0
    take: int | None = None
    size: int | None = None

    def place(self, message: Message) -> tuple:
        """Where a message is in the order of this query: its time and id, behind its name or status if that is sorted by."""
        time = getattr(message, "arrived" if self.by_arrival else "last_updated" if self.by_update else "timestamp")
        return (time, message.id) if self.sort == "timestamp" else (getattr(message, self.sort), time, message.id)


def json_size(value: bytes | None) -> int:
    """Bytes of a JSON value of an entity or a message; 0 for none."""
    return 0 if value is None else len(value)


def payload_size(message: Message) -> int:
    """Bytes of what a client may make as large as it likes."""
    size = len(message.parameters or b"")
    return size + len(message.result) if type(message) is Command and message.result else size


COMMAND_INSERT, COMMAND_UPDATE, NOTIFICATION_INSERT = "command/insert", "command/update", "notification/insert"


class Event(Struct, gc=False, frozen=True):
    """A message that has become visible, on its way to subscribers.

    :ivar action: one of the three names above.
    """

    action: str
    message: Command | Notification


class Node(Struct, frozen=True, kw_only=True):
    """How a server is set up, as far as it concerns others on the same storage.

    :ivar key: a fingerprint of its signing key, 30 bits; 0 when there is none to be known.
    :ivar has_bus: whether it hears of what others store.
    """

    key: int
    has_bus: bool


class Finding(Struct, frozen=True):
    """One result of an examination: a line of ``devicehive doctor``.

    :ivar level: ``ok``; ``warning`` for what works but should be changed; ``wrong`` for what keeps the server from starting, or from
        keeping its promises.
    :ivar sentence: what was found, in one line. It begins with its subject, such as a path.
    :ivar cure: what the operator must do, in one line. Empty when they need not do anything.
    :ivar topic: what was examined, in a word or two. Empty for the role of the provider, such as ``storage``.
    """

    level: Literal["ok", "warning", "wrong"]
    sentence: str
    cure: str = ""
    topic: str = ""


class Examination(Struct, frozen=True, kw_only=True):
    """What a provider found when it was examined. A provider leaves out what it does not know.

    :ivar findings: in the order in which they are shown.
    :ivar newest: for a storage: its own time when something was last stored, in milliseconds since 1970 UTC.
    :ivar is_served: for a storage: whether a server works on the data now.
    :ivar process: for a storage: the id of the process of that server, if it runs on this machine.
    :ivar nodes: for a storage that several servers can share: those that work on it now.
    :ivar key: for an auth provider: what ``IKeyedAuth.key_fingerprint`` of a server with this configuration gives.
    """

    findings: Sequence[Finding] = ()
    newest: int | None = None
    is_served: bool | None = None
    process: int | None = None
    nodes: Sequence[Node] = ()
    key: int = 0


class Claims(Struct, frozen=True, kw_only=True):
    """What a token says (auth reference, section 1). ``None`` for a member that the token does not have.

    :ivar user_id: member ``u``.
    :ivar actions: member ``a``: permission ids, 0 for any.
    :ivar network_ids: member ``n``: ids as text, or ``*``.
    :ivar device_type_ids: member ``dt``: the same.
    :ivar expires: member ``e``: milliseconds.
    :ivar refresh: member ``t``: true for a refresh token.
    :ivar valid_from: member ``vf``: the user's ``valid_from`` when it was made; 0 for a token that does not have it.
    :ivar device_id: member ``d``: the only device that it is good for; ``None`` for any.
    :ivar token_id: member ``id``, of a token for one device: the :class:`DeviceToken` without which it is no good; else 0.
    """

    user_id: int
    actions: frozenset[int] | None
    network_ids: frozenset[str] | None
    device_type_ids: frozenset[str] | None
    expires: int
    refresh: bool = False
    valid_from: int = 0
    device_id: str | None = None
    token_id: int = 0

    @property
    def size(self) -> int:
        """How many networks and device types it names."""
        return len(self.network_ids or ()) + len(self.device_type_ids or ())
