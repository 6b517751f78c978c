"""What a third party may implement.

A method described as *async* returns an awaitable: write ``async def``, or return a Deferred. Any other method returns at once. The server
calls everything in the reactor thread, and a provider must not block it. Texts have no NUL characters: the server refuses them. If an
answer is ready, return it without suspending: then the server makes no Deferred for it. :mod:`dhtwisted.kit.waiter` has awaitables that
cost less, for thousands of answers a second. The suites of :mod:`dhtwisted.testing` prove that a provider keeps its contract.

Errors: a storage raises :class:`~dhtwisted.errors.StorageError` and its subclasses. An auth provider raises the subclasses of
:class:`~dhtwisted.errors.Unauthorized`, and :class:`~dhtwisted.errors.AuthUnavailable` when its backend does not answer. Any other error
counts as a defect: the client gets 500 and the log a traceback. So a provider converts the errors of drivers and of the system, such as
``ConnectionError``.

Every call ends by itself, after some seconds at most: a provider sets time limits for its backend, and raises an error of the kind "not
now" when they are over. Only ``IStorage.open`` may wait for longer. A client gets 503 when its request has waited for nine seconds. The
server still waits for the call then: what the call stores is sent to subscribers, and a call that never ends keeps its request in memory.
A provider does not start a call that has waited in its queue for so long.

The outcome is unknown when a commit was sent and its answer was lost. Then the provider finds it out, if it can within its time limit: on a
new connection it looks for something that the commit leaves, such as a number of its own in the same transaction. If that is there, the
provider answers as if nothing had happened. Otherwise it raises ``StorageUnavailable``. That error promises that nothing is half done: the
call may be done completely, or not at all. The server sends 503 to the client, and repeats no change by itself except ``forget_messages``.

Order of values: an absent value (``None``) comes before all others, and after them when descending. An empty text is not absent. Texts sort
by code point in every language, as in Python and with SQL's ``COLLATE "C"``. Texts are equal when all their characters are equal. Only
where a query says "ignoring case", they are equal when their ``str.casefold()`` is equal, also beyond ASCII: "STRASSE" equals "straße". But
"Arger" does not equal "Ärger", and no Unicode normal form is applied.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from zope.interface import Attribute, Interface

from dhtwisted.model import (
    Claims,
    Command,
    Entity,
    EntityQuery,
    Event,
    Examination,
    Finding,
    Holding,
    Message,
    MessageQuery,
    Node,
    User,
)


class IEntityStorage(Interface):
    """Keeps users, networks, device types, devices and configuration: few, with unique keys, seldom changed.

    The server checks rights, sets defaults and removes children before their parents. A storage only keeps what it gets. ``kind`` is always
    a class of ``model.ENTITY_KINDS``. Its ``KEY``, ``UNIQUE``, ``LARGE`` and ``OWNER`` have all that a storage must know about it. When the
    awaitable of a change completes, the next call sees the change, and it is durable. After a crash each change is done or not done.
    """

    def get(kind: type[Entity], key: int | str) -> Awaitable[Any]:
        """Find one entity (async).

        :returns: the entity, or ``None``.
        """

    def find(kind: type[Entity], query: EntityQuery) -> Awaitable[list[Any]]:
        """List entities (async).

        :param query: filter, then sort, then begin behind ``after``, then skip and take. The answer may end at ``size``.
        """

    def count(kind: type[Entity], query: EntityQuery) -> Awaitable[int]:
        """Count the entities that match (async). ``query.skip`` and ``query.take`` do not matter."""

    def holdings(owner: int) -> Awaitable[dict[type[Entity], Holding]]:
        """Sum up the entities that count for a user (async): those with this id in the field ``OWNER`` of their kind.

        The server calls it before nearly every insert of an entity, so its cost must not grow with the number of entities: keep sums, and
        change them in the same transaction as the entity.

        :returns: kind -> holding. Kinds without entities may be left out, and so may kinds without ``OWNER``.
        """

    def insert(entity: Entity) -> Awaitable[Any]:
        """Add an entity (async).

        An integer key of 0 is replaced by the next key of the kind: 1 first, and never a key that was used before, also after a restart.
        Any other key is kept, and later keys are above it.

        :returns: the entity as stored.
        :raises Duplicate: the key, or the value of a unique field, is taken; nothing was changed. Also when two inserts run at once.
        :raises Unstorable: a value cannot be kept, such as text that is not Unicode; nothing was changed. Every other change raises it too.
        """

    def update(kind: type[Entity], key: int | str, changes: dict[str, Any]) -> Awaitable[Any]:
        """Replace some fields of an entity (async). Concurrent changes of different fields all take effect.

        :param changes: field name -> new value; never the key. For a set, the new value may be ``model.With`` or ``model.Without``, for a
            number ``model.Added``: concurrent changes of these kinds all take effect too. For a number it may also be ``model.Raised``,
            which never lowers it, and which may depend on whether another field changes. ``model.changed`` applies all of them.
        :returns: the entity as it is now.
        :raises Missing: there is no such entity.
        :raises Duplicate: a unique field would be equal to another entity's; nothing was changed.
        """

    def delete(kind: type[Entity], key: int | str) -> Awaitable[bool]:
        """Remove an entity (async).

        :returns: true, or false when there was none.
        """


class IMessageStorage(Interface):
    """Keeps commands and notifications: many, appended, read by device and time, expired by age.

    ``kind`` is ``model.Command`` or ``model.Notification``. Ids ascend for each kind separately, from 1. The payload fields
    (``parameters``, ``result``) are JSON texts and come back byte for byte.
    """

    def append(messages: Sequence[Message]) -> Awaitable[None]:
        """Store messages, all or none (async).

        Each message object gets its stamps: ``id``, ``arrived``, and ``timestamp`` where it is ``None``. A command's ``last_updated``
        becomes its ``timestamp``. ``arrived`` is always the storage's own time. Ids, and the times that the storage gives, ascend in the
        order in which messages become visible, also over restarts and in concurrent appends. Times never step back, even when the clock
        does; they may be equal. The call completes when the messages are as safe as :attr:`IStorage.durability` promises, and not earlier.
        Appends complete in the order of their ids.

        An empty sequence stores nothing and is a barrier. Let T be the reactor's time, in milliseconds, at the call. After its completion,
        and until the storage is closed, no message with a storage time before T becomes visible any more, and no update of a command
        either. That is true for all servers on one storage.

        :param messages: commands and notifications in any mix.
        :raises StorageUnavailable: nothing was stored, or perhaps all if the answer was lost. The caller's messages did not change.
        :raises Unstorable: a value cannot be kept, such as text that is not Unicode; nothing was stored. Every other change raises it too.
        """

    def update_command(device_id: str, command_id: int, changes: dict[str, Any]) -> Awaitable[Command | None]:
        """Record the progress of a command (async).

        Its ``updated`` becomes true. Its ``last_updated`` becomes the present time as in :meth:`append`, but at least 1 ms later than it
        was: clients distinguish the states of a command by it. Its ``update_id`` becomes the number of this update: positive, and higher
        than the number of every update of any command that became visible before, on any server, also after a restart. Numbers may be left
        out.

        :param changes: ``status`` (text), ``result`` (JSON bytes), both, or neither.
        :returns: the whole command as it is now, or ``None`` when that device has no such command.
        """

    def get_message(kind: type[Message], device_id: str, message_id: int) -> Awaitable[Any]:
        """Find one message (async).

        :returns: the message, or ``None`` when that device has no such message.
        """

    def find_messages(kind: type[Message], query: MessageQuery) -> Awaitable[list[Any]]:
        """List messages (async).

        :param query: filter, then sort, then begin ``behind``, then skip and take. The answer may end at ``size``.
        :returns: messages that neither side changes afterwards: a later update makes a new object.
        """

    def forget_messages(kind: type[Message], query: MessageQuery) -> Awaitable[int]:
        """Delete messages (async). The server calls it for small portions, so that other calls do not wait.

        The messages that arrived first are deleted first. ``before`` means ``arrived``, even if the query does not say ``by_arrival``: a
        message is kept for as long as the operator wants, whether its client dated it 1970 or 2099. If devices are given, the order of
        deletion does not matter.

        :param query: has only ``by_arrival``, ``device_ids``, ``before`` and ``take``.
        :returns: how many were deleted.
        """

    def restore(messages: Sequence[Message]) -> Awaitable[None]:
        """Store messages unchanged, all or none (async): with their ids, all their times, and the progress of a command. Only an import
        calls it.

        An id is a positive integer. It may be above, below or between the stored ids, and there may be gaps. The ids that :meth:`append`
        gives later are above all that were ever restored. The times that it gives do not depend on the times of restored messages: a client
        may have dated one far into the future. The call completes as :meth:`append` does.

        :param messages: commands and notifications with all their stamps, in any mix; the ids of each kind ascend. The call does not change
            them.
        :raises Duplicate: a message of the kind has this ``id`` already; nothing was stored.
        :raises StorageUnavailable: nothing was stored, or perhaps all if the answer was lost.
        """


class IStorage(IEntityStorage, IMessageStorage):
    """A storage of entities and messages. It is opened once and closed once. A provider of messages alone has the same attributes and
    methods, but without :class:`IEntityStorage`.
    """

    durability: str = Attribute(
        "``durable``: acknowledged data survive kill -9 and loss of power. ``volatile``: they end with the process."
    )
    state_directory: str | None = Attribute(
        "Where the server may keep its signing key beside the data; ``None`` for nowhere. Then a durable storage needs "
        "``auth.secret_file`` in the configuration, or the server does not start. The server does not ask a provider of messages alone."
    )

    def open() -> Awaitable[None]:
        """Prepare for the other methods (async): create or upgrade the schema, and read what is needed.

        The server calls it once and waits for as long as it takes. So a storage whose backend may start after the server waits here: it
        tries again after pauses from the reactor, and logs once that it waits and for what. If the server is stopped meanwhile, it cancels
        the awaited Deferred and calls :meth:`close`. If the storage raises an error instead, the server ends.

        :raises ConfigurationError: it can never work as configured (no such directory, a newer schema, data in use by another process);
            one line that says what to do.
        :raises StorageUnavailable: the backend does not answer, and this storage does not wait for it.
        """

    def close() -> Awaitable[None]:
        """Finish all accepted calls, then release everything (async). Every later call raises ``StorageUnavailable``. A second ``close``
        does nothing. The server also calls it when :meth:`open` failed, or has not completed.
        """


class IBulkStorage(Interface):
    """A storage that changes many entities in one call; it is optional. MQTT uses it: a subscriber that must miss nothing costs one insert
    and one deletion for each message. A storage without it gets the same changes one by one, see :mod:`dhtwisted.kit.bulk_changes`.

    All kinds here have ``BULK``: a text as key, no ``UNIQUE`` fields and no ``OWNER``.
    """

    def change_many(
        put: Sequence[Entity], removed: Sequence[tuple[type[Entity], str]], messages: Sequence[Message] = ()
    ) -> Awaitable[None]:
        """Store entities, remove others, and append messages: all, or nothing (async).

        The call completes when all of it is as safe as :attr:`IStorage.durability` promises. Calls take effect and complete in the order
        in which they were made. Several calls that wait should share a commit.

        :param put: each takes the place of the entity with its key, if there is one.
        :param removed: kinds and keys, none of them in ``put``. Where there is no such entity, nothing happens.
        :param messages: as for :meth:`IMessageStorage.append`. Only for an object that keeps entities and messages.
        :raises Unstorable: a value cannot be kept; nothing was changed.
        """

    def remove_group(kind: type[Entity], group: str) -> Awaitable[None]:
        """Remove all entities of a group (async), those of earlier calls of :meth:`change_many` included.

        Meanwhile the caller makes no other call for this group.

        :param kind: one with ``MANY``.
        :param group: the value of that field.
        """


class IMeasuredStorage(Interface):
    """A storage that measures itself; it is optional."""

    statistics: Any = Attribute("A ``kit.statistics.StorageStatistics``, shown in ``/metrics``.")


class IBoundedAnswers(Interface):
    """A storage whose ``find`` and ``find_messages`` end at the ``size`` of a query: behind the entity or message that reaches it, and not
    later; it is optional. The server asks such a storage for a whole page at once, and any other for a few objects first.
    """


class ISharedStorage(Interface):
    """A storage on which several servers may work at once, and that shows each of them the others; it is optional. A storage that belongs
    to one process, such as a file with a lock, does not need it.
    """

    store_id: str = Attribute("Identifies the data: two objects that work on the same data have the same text. Known when it is open.")

    def announce(node: Node) -> Awaitable[None]:
        """Show this server to the others until the storage is closed or the process ends (async). The server calls it once, before it
        serves clients. When the process is killed, or its machine fails, the announcement must end by itself within a minute.
        """

    def look_around() -> Awaitable[tuple[bool, Sequence[Node]]]:
        """Find the others (async). The server calls it every few seconds, so it must be cheap.

        :returns: whether this server was the first of all present servers; and the others. This server is not among them, also not through
            a broken connection of its own.
        :raises StorageUnavailable: nothing is known now.
        """


class IBackedUpStorage(Interface):
    """A storage that copies itself while it works; it is optional. ``devicehive backup`` uses it. The documentation of the provider says
    how to restore a copy.
    """

    def back_up(write: Callable[[bytes], Awaitable[None]]) -> Awaitable[dict[str, int]]:
        """Write one copy of everything (async), from one moment after the call: it has all that was acknowledged before.

        Nobody waits meanwhile: no reader, no writer, and not the reactor. As far as it can, the storage checks the copy before it writes
        it. The call may be cancelled: then it leaves nothing behind.

        :param write: an async callable. Wait for it before you call it again.
        :returns: name of a kind -> number of copied objects.
        :raises StorageUnavailable: it is impossible now; one line that says what to do.
        """


class IBackupAdvice(Interface):
    """A storage that does not copy itself and knows what the operator should do instead; it is optional. ``devicehive backup`` shows it.
    Without this interface the command names ``devicehive export``.
    """

    backup_advice: str = Attribute("What the operator should do. It follows the name of the provider and a comma: ``use pg_dump``.")


class ILossNoticing(Interface):
    """A storage that detects missing acknowledged data at its start, and then refuses to start; it is optional."""

    losses: list[str] = Attribute("Texts of what is missing, when it is open nevertheless.")

    def accept_loss() -> None:
        """Let ``open`` succeed without the missing data; called before ``open``. As far as the storage can know, it does not reuse ids."""


class IMessageBus(Interface):
    """Lets several servers ("nodes") on one storage act as one: it carries events from the node that stored a message to every node, itself
    included, and it informs every node about entities that were changed on another.

    A bus may read events and changes from the storage itself. Then it ignores what is published.
    """

    def start(
        receive: Callable[[Sequence[Event]], object],
        changed: Callable[[Sequence[tuple[type[Entity], int | str]] | None], Awaitable[object]],
    ) -> Awaitable[None]:
        """Begin (async).

        :param receive: the bus calls it in the reactor thread with each event that is published here or elsewhere: once, or at least once
            after an interruption. The order for each device is that of publication, or of commit. If it raises an error, the bus logs
            it and continues. Events that are there together should be given in one call: they are then delivered together, for less.
        :param changed: an async callable. The bus calls ``await changed(keys)`` when entities were changed on another node; it may also
            call it for changes on its own node. ``keys`` is a sequence of ``(kind, key)``, or ``None`` after an interruption, when any
            entity may have changed. Later events are not delivered before it completes. If it fails, the bus logs that and calls it with
            ``None``, after a pause each time, until it succeeds. Nothing else is delivered before that.
        :raises ConfigurationError: the bus does not fit the other providers, such as the message storage; one line that says what to do.
        """

    def publish(events: Sequence[Event]) -> None:
        """Send events whose messages are stored. It returns at once and never raises."""

    def publish_change(kind: type[Entity], key: int | str) -> None:
        """Inform the other nodes that an entity was inserted, changed or deleted. The storage has done it already. It returns at once and
        never raises.
        """

    def stop() -> Awaitable[None]:
        """End (async), also when :meth:`start` failed. After this completes, the bus calls neither ``receive`` nor ``changed``."""


class ILocalBus(IMessageBus):
    """A bus that reaches no other server: its server must be the only one on its storage."""


class INodeBus(Interface):
    """A bus that also carries short texts between the nodes; it is optional. With it, a client of MQTT can go from one node to another."""

    def listen(heard: Callable[[str], object]) -> None:
        """Choose who hears what is said.

        :param heard: the bus calls it in the reactor thread with each text that a node says after :meth:`~IMessageBus.start`, this node
            too: at most once, each node's texts in their order. If it raises an error, the bus logs it and continues.
        """

    def tell(text: str) -> None:
        """Say a text to all nodes, this one too. It returns at once and never raises. While the bus is interrupted, the text may be lost.

        :param text: at most 7,000 bytes in UTF-8, without U+0000.
        """


class IObservedBus(Interface):
    """A bus that knows its own state; it is optional."""

    up: bool = Attribute("Whether it hears the other nodes now. ``/health/ready`` shows it.")
    lag: float = Attribute("For how many seconds the oldest undelivered event has waited, 0.0 for none. ``/metrics`` shows it.")


class IAuthProvider(Interface):
    """Identifies users: it converts tokens into claims and back, and a login with its password into a user.

    It does not decide what a user *may* do: the server combines the claims with the user's present assignments at every use.
    """

    secret: str | None = Attribute("The key that signs tokens, for ``compatibility.show_secret``; ``None`` if it is not to be shown.")

    def verify(token: str) -> Claims:
        """Read a token. The server calls it for every ``authenticate``, so it computes and does not wait.

        :param token: from the client, at most as long as a message.
        :returns: what the token says. This method does *not* check expiry: the caller does, because the answer depends on the use.
        :raises InvalidCredentials: the signature, the algorithm or the layout is wrong.
        """

    def issue(claims: Claims) -> str:
        """Make a token for which :meth:`verify` returns equal claims. Those include ``valid_from``: without it no token can be revoked, and
        each token becomes invalid when the user's number is raised. They also include ``device_id`` and ``token_id``: without them the
        server makes no tokens for one device.
        """

    def login(login: str, password: str) -> Awaitable[User]:
        """Check a password (async). It takes about the same time whether the login exists or not.

        :returns: the user as the storage had them when the password was checked: a new token gets ``valid_from`` from it.
        :raises UnknownLogin: no such login. The server only tells the client ``Invalid credentials``.
        :raises InvalidCredentials: wrong password.
        :raises UserLocked: right password, but the user is not active.
        :raises AuthUnavailable: the backend, such as an LDAP directory, does not answer, so nothing is known about the password. The text
            goes to the log, and the client gets 503.
        """

    def hash_password(password: str) -> Awaitable[str]:
        """Make the text that is stored of a new password (async).

        :returns: a value for ``User.password``.
        :raises AuthUnavailable: as :meth:`login`.
        """

    def close() -> Awaitable[None]:
        """Release threads and files (async)."""


class IKeyedAuth(Interface):
    """An auth provider that can compare signing keys; it is optional. Servers on one storage compare theirs."""

    def key_fingerprint() -> int:
        """Identify the key without revealing it.

        :returns: 1 to 2**30 - 1; equal for equal keys, for example a part of an HMAC of a fixed text.
        """


class ISelfCheck(Interface):
    """A storage, bus or auth provider that can detect that it does not work as promised; it is optional."""

    def problem() -> str:
        """Check, without waiting and at little cost: the server calls this every few seconds, and for ``/health/ready``.

        :returns: one line that says what is wrong and what to do; empty when all is well. The server logs each change. While there is a
            problem, a storage is ``down`` in ``/health/ready``.
        """


class IProvider(Interface):
    """Declares what can be configured as ``name:argument``, as a plugin drop-in or as an entry point; both are equal.

    Listing providers must be cheap: import large modules in :meth:`open`.
    """

    role: str = Attribute("``storage``, ``messages``, ``bus`` or ``auth``. A storage can also be used for messages.")
    name: str = Attribute("The text before the colon: lower case letters, digits and dashes.")
    description: str = Attribute("One line for ``--help-providers``.")
    argument_form: str = Attribute("What is written after the colon, such as ``PATH``; empty for nothing.")

    def open(argument: str, context: ProviderContext) -> Any:
        """Build the provider without waiting. A storage does not touch the outside world yet: that is the task of ``IStorage.open``. An
        auth provider has no such ``open``, so it may read small files here.

        :param argument: all after the first colon.
        :returns: an object that provides the interface of the role.
        :raises ConfigurationError: the argument is wrong; one line that says how it should look. The server puts the name of the provider
            and its package in front. Any other error is reported as a defect of the package, with its place, and the server does not start.
        """


class ICheckableProvider(IProvider):
    """A provider that can say what is wrong without opening anything; it is optional. ``devicehive --check-config`` and
    ``devicehive doctor`` use it.
    """

    def check(argument: str, context: CheckContext) -> Sequence[Finding] | None:
        """Check what :meth:`IProvider.open`, and the ``open`` of a storage, need: the form of the argument, files and their rights. Make
        and change nothing, and contact nobody. Return at once.

        :param argument: as for :meth:`IProvider.open`.
        :returns: further findings, such as warnings, or ``None``.
        :raises ConfigurationError: it cannot work as configured; one line that says what is wrong and how to correct it.
        """


class IExaminableProvider(ICheckableProvider):
    """A provider that can also examine its data, its backend and its keys; it is optional. ``devicehive doctor`` calls :meth:`examine`
    instead of :meth:`ICheckableProvider.check`, also while servers work on the data.
    """

    def examine(argument: str, context: CheckContext) -> Examination:
        """Examine everything that the provider needs, and change nothing: no file is made, no schema is upgraded, no server waits.

        Unlike all other calls, this one may block: it runs in a process of its own, in which no reactor runs. It ends by itself, after some
        seconds at most. It also works where :meth:`IProvider.open` cannot, for example without an installed driver.

        :param argument: as for :meth:`IProvider.open`.
        :returns: what was found. What is wrong is a finding, not an exception.
        :raises ConfigurationError: the argument is wrong, so there is nothing to examine; one line that says how it should look.
        """


class IFileProvider(IProvider):
    """A provider of storages that each have their data in one file; it is optional. The server puts the control socket beside that file,
    the shell works as the owner of that file, and ``devicehive doctor`` checks its disk.
    """

    def data_file(argument: str) -> str:
        """Say where the data are. The file need not exist. Nothing is opened.

        :param argument: as for :meth:`IProvider.open`.
        :returns: the absolute path with all symbolic links resolved: equal for two arguments that mean the same file.
        """


class ProviderContext:
    """What the server gives to every provider, whatever its role.

    :ivar reactor: the only source of time (``seconds``), delayed calls and threads.
    :ivar settings: the whole configuration, a ``config.settings.Settings``; a provider reads its own section.
    :ivar storage: the opened entity storage; ``None`` while storages are built.
    :ivar messages: the opened message storage, often the same object; ``None`` while storages are built.
    """

    __slots__ = ("messages", "reactor", "settings", "storage")

    def __init__(self, reactor: Any, settings: Any, storage: Any = None, messages: Any = None) -> None:
        self.reactor = reactor
        self.settings = settings
        self.storage = storage
        self.messages = messages


class CheckContext(ProviderContext):
    """What a provider gets when it is checked or examined. The storages are built but not opened; they are ``None`` if that is impossible.

    :ivar place: where the operator changes the argument, in words, such as ``storage.provider in devicehive.toml``. A finding which is
        corrected there begins with it.
    :ivar place_of: the same for any option: called as ``place_of("auth.secret_file")``.
    :ivar data_file: the absolute path of the file in which the entity storage keeps its data; ``None`` when it is not in one file.
    """

    __slots__ = ("data_file", "place", "place_of")

    def __init__(self, context: ProviderContext, place: str, place_of: Callable[[str], str] = str, data_file: str | None = None) -> None:
        super().__init__(context.reactor, context.settings, context.storage, context.messages)
        self.place = place
        self.place_of = place_of
        self.data_file = data_file


class IConnection(Interface):
    """Where a client is, for limits and logs."""

    address: str = Attribute("The client's network address.")
    number: int = Attribute("The number of the connection among all that this process has served.")


class IOutput(IConnection):
    """How a session sends to its client; each transport has one."""

    congested: bool = Attribute(
        "True while the client does not read what is sent: the session then accepts no requests and pauses replays."
    )
    ended: bool = Attribute("True when the connection is closed or being closed: the session takes no further message.")
    rest_url: str = Attribute("Where the client finds the REST API of this server, for ``server/info``.")
    account: Any = Attribute("The client's ``core.budget.Account``. The transport closes it when the connection has ended.")

    def send(payload: bytes) -> None:
        """Send one whole message, JSON as bytes. A reply is always sent, whatever its size."""

    def send_event(prefix: bytes, body: bytes) -> None:
        """Send one whole message in two parts of bytes. If the client reads too slowly, the connection ends."""

    def send_many(payloads: Iterable[bytes]) -> None:
        """Send several whole messages, in order, as :meth:`send` for each."""

    def send_events(events: Iterable[tuple[bytes, bytes]]) -> None:
        """Send several messages, in order, as :meth:`send_event` for each. If the client reads too slowly, the connection ends there, and
        the rest is not sent.

        :param events: prefix and body of each. They are taken one by one: after an error the caller goes on with those that are left.
        """

    def abort(reason: str) -> None:
        """End the connection, because the server cannot keep its promises on it; the client connects again.

        :param reason: a few words, for the log.
        """

    def pause() -> None:
        """Take no more input until :meth:`resume`."""

    def resume() -> None:
        """Take input again."""
