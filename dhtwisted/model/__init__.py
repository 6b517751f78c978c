"""What the server stores: entities (few, with unique keys, changed) and messages (many, appended, expired).

Times are integer milliseconds since 1970 UTC. A field with "any JSON" is ``bytes | None``: the text exactly as the client sent it, never
parsed by the server. ``None`` means both the absent value and JSON null. What MQTT keeps is in :mod:`dhtwisted.model.mqtt`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Literal, TypeVar
from unicodedata import normalize

from msgspec import Struct
from msgspec.structs import replace

from dhtwisted.model.entity import Entity as Entity
from dhtwisted.model.entity import Holding as Holding
from dhtwisted.model.mqtt import MqttQueued as MqttQueued
from dhtwisted.model.mqtt import MqttReceived as MqttReceived
from dhtwisted.model.mqtt import MqttRetained as MqttRetained
from dhtwisted.model.mqtt import MqttSession as MqttSession

T = TypeVar("T")
S = TypeVar("S", bound=Struct)


ADMINISTRATOR, CLIENT = 0, 1
ACTIVE, LOCKED_OUT, DISABLED = 0, 1, 2


def fold_login(login: str) -> str:
    """The form of a login that must be unique: without differences of case and of Unicode form."""
    return normalize("NFKC", normalize("NFKC", login).casefold())


def alike(logins: Iterable[str]) -> list[list[str]]:
    """Find groups of logins that differ only in case or Unicode form."""
    groups: dict[str, list[str]] = {}
    for login in logins:
        groups.setdefault(fold_login(login), []).append(login)
    return [sorted(group) for group in groups.values() if len(group) > 1]


class User(Entity, frozen=True, kw_only=True):
    """A person or program that logs in.

    :ivar password: what the auth provider stores of the password, such as a ``$scheme$`` string. It never leaves the server.
    :ivar valid_from: tokens with a lower number are invalid. 0 at first; raised by :class:`Raised`, never lowered.
    :ivar login_key: the login in the form of :func:`fold_login`. It is ``None`` for users of older releases: the server sets it at its
        start, unless another user has that key.
    :ivar known_addresses: from where this user has logged in by password: network addresses (IPv6: the /64) and times, the oldest first.
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
        """Whether a token of this user is still valid: the user is active, and the token was not revoked."""
        return self.status == ACTIVE and claims.valid_from >= self.valid_from


class Network(Entity, frozen=True, kw_only=True):
    """A group of devices to which users are assigned.

    :ivar owner_id: the user who created it. It only counts for quotas, and gives no rights. ``None`` if that is not known.
    """

    KIND: ClassVar[str] = "network"
    UNIQUE: ClassVar[tuple[str, ...]] = ("name",)
    OWNER: ClassVar[str] = "owner_id"

    name: str
    description: str | None = None
    id: int = 0
    owner_id: int | None = None


class DeviceType(Entity, frozen=True, kw_only=True):
    """A kind of device. Users may be restricted to some of them. ``owner_id`` as in :class:`Network`."""

    KIND: ClassVar[str] = "devicetype"
    UNIQUE: ClassVar[tuple[str, ...]] = ("name",)
    OWNER: ClassVar[str] = "owner_id"

    name: str
    description: str | None = None
    id: int = 0
    owner_id: int | None = None


class Device(Entity, frozen=True, kw_only=True):
    """A device receives commands and sends notifications. The client chose its ``id``. ``owner_id`` as in :class:`Network`."""

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
    """A text that clients store on the server under a name."""

    KIND: ClassVar[str] = "configuration"
    UNIQUE: ClassVar[tuple[str, ...]] = ("name",)

    name: str
    value: str
    entity_version: int = 1
    id: int = 0


class DeviceToken(Entity, frozen=True, kw_only=True):
    """The record of tokens that are valid for one device only. They are valid while this record exists.

    :ivar id: chosen at random by the server that makes the record, so that it is never used again.
    :ivar user_id: the user whose rights the tokens have, restricted to that device.
    :ivar label: a name that their creator gave.
    :ivar expires: when the last of the tokens expires.
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
    """How many bytes count for a quota of one day. Rows of other days are deleted.

    :ivar id: the day, and the user or device for which they count: ``20260102 user 3`` or ``20260102 device pump-4``.
    :ivar size: the bytes that all servers stored.
    """

    KIND: ClassVar[str] = "storedbytes"

    id: str
    size: int


class With(Struct, frozen=True):
    """As the new value of a set: its present elements and these."""

    elements: frozenset[Any]


class Without(Struct, frozen=True):
    """As the new value of a set: its present elements without these."""

    elements: frozenset[Any]


class Raised(Struct, frozen=True):
    """As the new value of a number: ``to``, but always more than the present number. It never falls, and each of several concurrent changes
    raises it.

    :ivar to: the smallest new number.
    :ivar when: the name of another field in the same change: the number is raised only if the value of that field changes. Empty: always.
    """

    to: int
    when: str = ""


class Added(Struct, frozen=True):
    """As the new value of a number: the present number plus ``amount``, which may be negative. All of several concurrent changes count."""

    amount: int


def changed(entity: S, changes: dict[str, Any]) -> S:
    """Apply a change to an entity. Every storage can update with this.

    :param changes: field name -> new value, :class:`With`, :class:`Without`, :class:`Raised` or :class:`Added`.
    """
    return replace(entity, **{name: _value(entity, name, changes) for name in changes})


def _value(entity: Any, name: str, changes: dict[str, Any]) -> Any:
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
    kind.KIND: kind
    for kind in (
        User,
        Network,
        DeviceType,
        Device,
        Configuration,
        DeviceToken,
        StoredBytes,
        MqttSession,
        MqttRetained,
        MqttQueued,
        MqttReceived,
    )
}


class Command(Struct, gc=False, kw_only=True):
    """A request to a device. The storage sets ``id``, ``arrived``, ``last_updated`` and an absent ``timestamp``.

    ``updated`` becomes true with the first ``command/update``. ``last_updated`` is the time of the last one. ``arrived`` is the storage's
    time when the command was stored, independent of a ``timestamp`` from the client. ``update_id`` numbers all updates of commands in this
    storage: it is the number of the last update of this command, and 0 before the first. No client sees ``arrived`` and ``update_id``.
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
    """A message from a device. The storage sets ``id``, ``arrived`` and an absent ``timestamp``, as for a command."""

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
MESSAGE_KINDS: dict[str, type[Message]] = {kind.KIND: kind for kind in (Command, Notification)}


ELEMENT_SIZE = 8
"""Bytes for which each element of a set counts."""


class EntityQuery(Struct, frozen=True, kw_only=True):
    """Selects entities of one kind, and their order. All conditions must be true. Field names are those of the entity.

    :ivar equal: field -> exact value.
    :ivar like: field -> SQL LIKE pattern: ``%`` any text, ``_`` one character, case sensitive, no escape character.
    :ivar within: field -> allowed values; an empty set allows none.
    :ivar sort: a field: absent values first, texts by code point. The key decides between equal values (ascending). Empty: by key.
    :ivar after: the :meth:`place` of an entity in this order, which may be deleted by now: only the entities behind it. So a list can be
        read in portions: concurrent inserts and deletions do not shift the others.
    :ivar take: the largest number of entities; ``None`` for all. Applied after sorting, ``after`` and ``skip``.
    :ivar size: the answer may end behind the entity at which the sum of :func:`entity_size` reaches this number of bytes, not earlier. A
        storage whose entities are not in this process should end there: a hundred devices may have a megabyte each. ``None`` for no limit.
    """

    equal: dict[str, Any] = {}
    like: dict[str, str] = {}
    within: dict[str, frozenset[Any]] = {}
    sort: str = ""
    descending: bool = False
    after: tuple[Any, ...] = ()
    skip: int = 0
    take: int | None = None
    size: int | None = None

    def place(self, entity: Entity) -> tuple[Any, ...]:
        """The place of an entity in the order of this query: the value of the sorted field and the key, or only the key."""
        return (entity.key,) if self.sort in ("", entity.KEY) else (getattr(entity, self.sort), entity.key)


def entity_size(entity: Entity) -> int:
    """The bytes of the large fields: those of JSON, and :data:`ELEMENT_SIZE` for each element of a set."""
    size = 0
    for field in entity.LARGE:
        value = getattr(entity, field)
        if value is not None:
            size += ELEMENT_SIZE * len(value) if isinstance(value, frozenset) else len(value)
    return size


def head_of(found: Iterable[T], size: int, size_of: Callable[[T], int]) -> Iterator[T]:
    """The first entities or messages, up to the one at which the sum of their bytes reaches ``size``, as in a query.

    :param size_of: :func:`entity_size` or :func:`payload_size`.
    """
    for each in found:
        yield each
        size -= size_of(each)
        if size <= 0:
            return


def cut_to_size(found: list[T], size: int, size_of: Callable[[T], int]) -> list[T]:
    """The same for a list. It is nearly always the whole list."""
    return found if sum(map(size_of, found)) < size else list(head_of(found, size, size_of))


class MessageQuery(Struct, frozen=True, kw_only=True):
    """Selects messages of one kind, and their order. All conditions must be true.

    :ivar device_ids: of these devices; ``None`` for all, an empty tuple for none.
    :ivar names: with one of these names; ``None`` for all.
    :ivar status: only for commands: with this status, ignoring case: ``str.casefold()`` of both is equal.
    :ivar updated: only for commands: those that have been updated.
    :ivar by_update: only for commands, and only together with ``updated``: ``last_updated`` replaces ``timestamp`` in ``since``,
        ``before``, ``after`` and the order. Polls for updates use it, for any devices. It must not read all commands.
    :ivar by_arrival: ``arrived`` replaces ``timestamp`` in ``since``, ``before``, ``after`` and the order. Deletion of old messages uses
        it, because a client may choose any ``timestamp``.
    :ivar since: ``timestamp`` at or after this.
    :ivar before: ``timestamp`` before this.
    :ivar after: ``(timestamp, id)`` of a message: only those behind it in ascending order.
    :ivar sort: ``timestamp``, ``name`` or ``status``, texts by code point, an absent status first; then by ``(timestamp, id)``.
    :ivar descending: the exact reverse of the ascending order.
    :ivar behind: the :meth:`place` of a message in this order, which may be deleted by now: only the messages behind it. So a list can be
        read in portions, in any order.
    :ivar take: the largest number of messages; ``None`` for all. Applied after sorting, ``behind`` and ``skip``.
    :ivar size: the answer may end behind the message at which the sum of :func:`payload_size` reaches this number of bytes, not earlier. A
        storage whose messages are not in this process should end there. ``None`` for no limit.
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
    behind: tuple[Any, ...] | None = None
    skip: int = 0
    take: int | None = None
    size: int | None = None

    @property
    def time_field(self) -> str:
        """The field of a message to which :attr:`since`, :attr:`before` and :attr:`after` refer."""
        if self.by_arrival:
            return "arrived"
        return "last_updated" if self.by_update else "timestamp"

    @property
    def order_fields(self) -> tuple[str, ...]:
        """The fields of a message by which this query sorts: time and id, with the name or status before them if that is sorted."""
        return (self.time_field, "id") if self.sort == "timestamp" else (self.sort, self.time_field, "id")

    def place(self, message: Message) -> tuple[Any, ...]:
        """The place of a message in the order of this query: its values of :attr:`order_fields`."""
        time = getattr(message, self.time_field)
        return (time, message.id) if self.sort == "timestamp" else (getattr(message, self.sort), time, message.id)


def json_size(value: bytes | None) -> int:
    """Bytes of a JSON value of an entity or a message; 0 for none."""
    return 0 if value is None else len(value)


def payload_size(message: Message) -> int:
    """The bytes of ``parameters`` and ``result``."""
    size = len(message.parameters or b"")
    return size + len(message.result) if type(message) is Command and message.result else size


COMMAND_INSERT, COMMAND_UPDATE, NOTIFICATION_INSERT = "command/insert", "command/update", "notification/insert"


class Event(Struct, gc=False, frozen=True):
    """A message that has become visible and goes to subscribers.

    :ivar action: the name of the event: one of the three constants above.
    """

    action: str
    message: Command | Notification


class Node(Struct, frozen=True, kw_only=True):
    """A server, as other servers on the same storage see it.

    :ivar key: a fingerprint of its signing key, 30 bits; 0 if it is not known.
    :ivar has_bus: whether a bus informs it about what others store.
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
    :ivar logins: for a storage: those of all users, if they could be read.
    :ivar key: for an auth provider: what ``IKeyedAuth.key_fingerprint`` of a server with this configuration gives.
    """

    findings: Sequence[Finding] = ()
    newest: int | None = None
    is_served: bool | None = None
    process: int | None = None
    nodes: Sequence[Node] = ()
    logins: Sequence[str] | None = None
    key: int = 0


class Claims(Struct, frozen=True, kw_only=True):
    """What a token says (auth reference, section 1). ``None`` for a member that the token does not have.

    :ivar user_id: member ``u``.
    :ivar actions: member ``a``: permission ids, 0 for any.
    :ivar network_ids: member ``n``: ids as text, or ``*``.
    :ivar device_type_ids: member ``dt``: the same.
    :ivar expires: member ``e``: milliseconds.
    :ivar refresh: member ``t``: true for a refresh token.
    :ivar valid_from: member ``vf``: the user's ``valid_from`` when the token was made; 0 if the token does not have it.
    :ivar device_id: member ``d``: the only device for which it is valid; ``None`` for all.
    :ivar token_id: member ``id`` of a token for one device: the id of the :class:`DeviceToken` without which it is invalid; else 0.
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
        """The number of networks and device types that it names."""
        return len(self.network_ids or ()) + len(self.device_type_ids or ())
