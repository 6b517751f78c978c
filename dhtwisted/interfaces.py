"""What a third party may implement.

A method described as *async* returns an awaitable: write ``async def``, or return a Deferred. Any other returns at once. Everything is
called in the reactor thread, and must not block it. Texts have no NUL characters: the server refuses them. An answer that is ready is
returned without suspending: the server makes no Deferred for it. Where thousands a second are to be answered, :mod:`dhtwisted.kit.waiter`
has awaitables that cost less. Each provider is proved by the suites of :mod:`dhtwisted.testing`.

Errors: a storage raises :class:`~dhtwisted.errors.StorageError` and its kinds; an auth provider raises the kinds of
:class:`~dhtwisted.errors.Unauthorized`, and :class:`~dhtwisted.errors.AuthUnavailable` where it cannot ask what it asks. Anything else is
taken for a defect: the client gets 500 and the log a traceback. An error of a driver or of the system, such as ``ConnectionError``, is
turned into one of these by the provider.

Every call ends by itself, in seconds at most: a provider has time limits of its own for what it asks, and raises the kind of error that
says "not now" when they are over. Only ``IStorage.open`` may wait for long. A client is answered 503 when its request has waited for nine
seconds, whatever for. The server goes on to wait for the call then: what it stores is told to subscribers, and an answer that never comes
is a request that is kept in memory. A provider does not begin what has waited so long for its turn.

The outcome is unknown where a commit was sent and its answer was lost. Then the provider finds out, if it can within its time limit: it
looks on a new connection for something that the commit would have left, such as a number of its own in the same transaction. If that is
there, it answers as if nothing had happened. Else it raises ``StorageUnavailable``, whose promise is that nothing is half done: all of the
call may have been done, or none. The server tells the client 503, and repeats no change by itself but ``forget_messages``.

Order of values: an absent one (``None``) comes before all others, and after them when descending; an empty text is not absent. Texts go by
code point, as in Python and in SQL's ``COLLATE "C"``, whatever language they are in. Texts are equal when all their characters are. Only
where a query says "ignoring case" they are equal when their ``str.casefold()`` is, also beyond ASCII: "STRASSE" is "straße", but "Arger" is
not "Ärger", and no Unicode normal form is applied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zope.interface import Attribute, Interface

from dhtwisted.model import Examination


class IEntityStorage(Interface):
    """Keeps users, networks, device types, devices and configuration: few, unique by key, changed now and then.

    The server checks rights, fills defaults and removes children before their parents; a storage only keeps what it is given. ``kind`` is
    always a class of ``model.ENTITY_KINDS``; its ``KEY``, ``UNIQUE``, ``LARGE`` and ``OWNER`` tell all that a storage must know of
    it. A change is visible to the next call, and durable, when its awaitable completes. A crash leaves each change done or not done.
    """

    def get(kind, key):
        """Find one entity (async).

        :returns: the entity, or ``None``.
        """

    def find(kind, query):
        """List entities (async).

        :param query: a ``model.EntityQuery``; filter, then sort, then go behind ``after``, then skip and take. It may end at ``size``.
        :returns: a list of entities.
        """

    def count(kind, query):
        """Count the entities that match, whatever ``query.skip`` and ``query.take`` say (async).

        :returns: an integer.
        """

    def holdings(owner):
        """Tell what there is that counts for a user (async): the entities that have this id in the field ``OWNER`` of their kind.

        It is asked before nearly every insert of an entity, so it must not cost more the more there are: keep sums, and change them in the
        same transaction as the entity.

        :returns: a dict: kind -> ``model.Holding``. Kinds of which there is nothing may be left out, and so are those without ``OWNER``.
        """

    def insert(entity):
        """Add an entity (async).

        An integer key of 0 is replaced by the next of the kind: 1 first, never one that was in use before, also after a restart. Any
        other key is kept, and later ones are given above it.

        :returns: the entity as stored.
        :raises Duplicate: the key, or the value of a unique field, is taken; nothing was changed. Also when two inserts run at once.
        :raises Unstorable: a value cannot be kept, such as text that is no Unicode; nothing was changed. The same of every other change.
        """

    def update(kind, key, changes):
        """Replace some fields of an entity (async). Concurrent changes of different fields all take effect.

        :param changes: field name -> new value; never the key. The new value of a set may be ``model.With`` or ``model.Without``, so that
            concurrent changes of its elements all take effect too; that of a number may be ``model.Added``, of which the same is true, or
            ``model.Raised``, which never lowers it, and may depend on whether another field changes.
            ``model.changed`` works any of them out.
        :returns: the entity as it is now.
        :raises Missing: there is no such entity.
        :raises Duplicate: a unique field would agree with another entity's; nothing was changed.
        """

    def delete(kind, key):
        """Remove an entity (async).

        :returns: true, or false when there was none.
        """


class IMessageStorage(Interface):
    """Keeps commands and notifications: many, appended, read by device and time, expired by age.

    ``kind`` is ``model.Command`` or ``model.Notification``. Ids count upwards for each kind on its own, starting at 1. The payload fields
    (``parameters``, ``result``) are JSON texts and come back byte for byte.
    """

    def append(messages):
        """Store messages, all or none (async).

        Each message is stamped in place: ``id``, ``arrived``, and ``timestamp`` where it is ``None``; a command's ``last_updated`` becomes
        its ``timestamp``. ``arrived`` is always the storage's own time. Ids, and the times that the storage gives, ascend in the order in
        which messages become visible, over restarts and however many appends run at once; times never step back, even when the clock does,
        and may be equal. Completes when the messages survive whatever :attr:`IStorage.durability` promises, and not before; appends
        complete in the order of their ids.

        An empty sequence stores nothing and is a barrier: once it completes, and until the storage is closed, no message becomes visible
        any more whose time, given by the storage, is before the reactor's time (in milliseconds) at which this was asked for; nor does an
        update of a command. That holds for all servers on one storage, whichever stores the message.

        :param messages: a sequence of commands and notifications, mixed as the caller likes.
        :returns: ``None``.
        :raises StorageUnavailable: nothing was stored, or, where the answer was lost, perhaps all; the caller's messages are as they were.
        :raises Unstorable: a value cannot be kept, such as text that is no Unicode; nothing was stored. The same of every other change.
        """

    def update_command(device_id, command_id, changes):
        """Record what became of a command (async).

        Its ``updated`` becomes true, and its ``last_updated`` now, as :meth:`append` reckons it, but at least 1 ms later than it was:
        clients tell the states of a command apart by it. Its ``update_id`` becomes the number of this update: positive, and higher than
        that of every update of any command that became visible before, on whichever server, also after a restart. Numbers may be left out.

        :param changes: ``status`` (text), ``result`` (JSON bytes), both, or neither.
        :returns: the whole command as it is now, or ``None`` when that device has no such command.
        """

    def get_message(kind, device_id, message_id):
        """Find one message (async).

        :returns: the message, or ``None`` when that device has no such message.
        """

    def find_messages(kind, query):
        """List messages (async).

        :param query: a ``model.MessageQuery``; filter, then sort, then go ``behind``, then skip and take. It may end at ``size``.
        :returns: a list of messages, which neither side changes afterwards: a later update makes a new object.
        """

    def forget_messages(kind, query):
        """Delete messages (async). The server calls it in small portions, so that others are not held up.

        Those that arrived first go first, and ``before`` is of ``arrived``, whether or not the query says ``by_arrival``: a message is kept
        for as long as the operator wants, also when its client dated it 1970, and no longer when it is dated 2099. Of given devices
        messages go in any order.

        :param query: only ``by_arrival``, ``device_ids``, ``before`` and ``take`` are given.
        :returns: how many were deleted.
        """

    def restore(messages):
        """Store messages as they are, all or none (async): their ids, their times, ``arrived`` too, and what became of a command. Only an
        import calls it.

        An id is a positive integer; it may lie above those that are stored, below or between them, and leave gaps. The ids that
        :meth:`append` gives later lie above all that were ever restored. The times that it gives do not follow from those of restored
        messages: a client may have dated one far into the future. Completes as :meth:`append` does.

        :param messages: a sequence of commands and notifications with all their stamps, mixed as the caller likes; the ids of each kind
            ascend. They are not changed.
        :returns: ``None``.
        :raises Duplicate: a message of the kind has this ``id`` already; nothing was stored.
        :raises StorageUnavailable: nothing was stored, or, where the answer was lost, perhaps all; the caller's messages are as they were.
        """


class IStorage(IEntityStorage, IMessageStorage):
    """Both in one, with a life: opened once, closed once. A provider of messages alone has this life without :class:`IEntityStorage`."""

    durability = Attribute("``durable``: what was acknowledged survives kill -9 and loss of power. ``volatile``: it goes with the process.")
    state_directory = Attribute(
        "Where the server may keep its signing key beside the data; ``None`` when there is none. Without one a durable storage "
        "needs ``auth.secret_file`` in the configuration, or the server does not start. A provider of messages alone is not asked for it."
    )

    def open():
        """Make ready for the other methods (async): create or upgrade the schema, read what must be read.

        The server calls it once and waits for as long as it takes. So a storage whose backend may start after the server waits for it
        here: it tries again after pauses from the reactor, and logs once that it waits and for what. When the server is stopped meanwhile,
        the Deferred that this waits for is cancelled, and :meth:`close` is called. One that does not wait raises, and the server ends.

        :raises ConfigurationError: it can never work as configured (no such directory, a newer schema, data in use by another process);
            one line that says what to do.
        :raises StorageUnavailable: the backend is away, and this storage does not wait for it.
        """

    def close():
        """Finish what was accepted, then let go of everything (async). Every call after this raises ``StorageUnavailable``; a second
        ``close`` does nothing. Also called when :meth:`open` failed, or has not completed.
        """


class IMeasuredStorage(Interface):
    """A storage that tells how it fares; it need not."""

    statistics = Attribute("A ``statistics.StorageStatistics``, shown in ``/metrics``.")


class IBoundedAnswers(Interface):
    """A storage whose ``find`` and ``find_messages`` end at the ``size`` of a query: behind the entity or message with which it is reached,
    and not later. It need not say so. One that does is asked for a whole page at once; any other for few at first.
    """


class ISharedStorage(Interface):
    """A storage on which several servers may work at once, and that tells each of the others; it need not. A storage that one process has
    to itself, such as a file with a lock, needs no such thing.
    """

    store_id = Attribute("What tells this store from any other, as text; two objects on one store have the same. Known once it is open.")

    def announce(node):
        """Tell the others of this server, until the storage is closed or the process ends (async). Called once, before clients are served.
        When the process is killed, or its machine is gone, the others must forget it within a minute, by themselves.

        :param node: a ``model.Node``.
        """

    def look_around():
        """Find the others (async). Called every few seconds, so at little cost.

        :returns: whether this server was there first, of all that are there, and a list of the ``model.Node`` of each of the others. This
            server, and what is left of it on a connection that broke, is not among them.
        :raises StorageUnavailable: nothing is known now.
        """


class IBackedUpStorage(Interface):
    """A storage that copies itself while it works; it need not. ``devicehive backup`` asks for it. The documentation of the provider says
    how a copy is put back.
    """

    def back_up(write):
        """Hand over one copy of everything (async), as it is at one moment after this was called: what was acknowledged before is in it.

        Nobody is held up meanwhile: neither readers nor writers, nor the reactor. The copy is checked before it is handed over, as far as
        the storage can. It may be cancelled: then nothing of it is left.

        :param write: an async callable that takes bytes. Wait for it before the next.
        :returns: kind's name -> how many objects of it were copied, as a ``dict``.
        :raises StorageUnavailable: it cannot be done now; one line that says what to do.
        """


class IBackupAdvice(Interface):
    """A storage that does not copy itself and knows what the operator should do instead; it is optional. ``devicehive backup`` says it.
    Without this interface the command names ``devicehive export``.
    """

    backup_advice: str = Attribute("What the operator should do. It follows the name of the provider and a comma: ``use pg_dump``.")


class ILossNoticing(Interface):
    """A storage that notices at its start that something acknowledged is missing, and does not start then; it need not."""

    losses = Attribute("Texts of what is missing, once it is open all the same, as a list.")

    def accept_loss():
        """Open without what is missing, called before ``open``. Ids that were given are not given again, as far as anybody knows them."""


class IMessageBus(Interface):
    """Makes several servers ("nodes") on one storage behave as one: carries events from the node where a message was stored to every node,
    its own included, and tells every node that entities were changed on another.

    A bus may read events and changes from the store itself, woken by it; what is published is nothing to it then.
    """

    def start(receive, changed):
        """Begin (async).

        :param receive: called in the reactor thread with a sequence of ``model.Event``, once for each one published here or elsewhere (at
            least once for those after a cut), in the order of publication, or of commit, for each device. An error that it raises is
            logged by the bus and stops nothing.
        :param changed: an async callable. The bus calls ``await changed(keys)`` when entities were changed on any node, its own included
            or not. ``keys`` is a sequence of ``(kind, key)``, the kind a class of ``model.ENTITY_KINDS``; ``None`` when the bus was cut
            off from the others and any entity may have changed. No event that is later than a change is handed over before this
            completes. When it fails, the bus logs that, and calls it with ``None``, after a pause each time, until it succeeds; nothing
            else is handed over before.
        :raises ConfigurationError: the bus does not fit the other providers, such as the message storage; one line that says what to do.
        """

    def publish(events):
        """Hand over events whose messages are stored. Returns at once and never raises.

        :param events: a sequence of ``model.Event``.
        """

    def publish_change(kind, key):
        """Tell the other nodes that an entity was inserted, changed or deleted, as the storage has done. Returns at once and never raises.

        :param kind: a class of ``model.ENTITY_KINDS``.
        """

    def stop():
        """End (async), also when :meth:`start` failed. Neither ``receive`` nor ``changed`` is called after this completes."""


class ILocalBus(IMessageBus):
    """A bus that reaches nobody: its server must be the only one on its storage."""


class IObservedBus(Interface):
    """A bus that tells how it fares; it need not."""

    up = Attribute("Whether it hears of the other nodes now. ``/health/ready`` tells it.")
    lag = Attribute("Seconds for which the oldest of what it has not yet handed over has waited, 0.0 for nothing. ``/metrics`` tells it.")


class IAuthProvider(Interface):
    """Says who somebody is: turns tokens into claims and back, and a login with its password into a user.

    What a user *may* is not its business: the server combines the claims with the user's present assignments at every use.
    """

    secret = Attribute("What tokens are signed with, as text, for ``compatibility.show_secret``; ``None`` when it is not to be shown.")

    def verify(token):
        """Read a token; called for every ``authenticate``, from the reactor thread, so it computes and does not wait.

        :param token: text from the client, at most a message long.
        :returns: ``model.Claims``. Expiry is *not* checked here: the caller does, since what is said differs by use.
        :raises InvalidCredentials: signature, algorithm or layout is not good.
        """

    def issue(claims):
        """Make a token whose :meth:`verify` gives equal claims. ``valid_from`` is among them: without it no token can be revoked, and none
        is good once the user's number has been raised. So are ``device_id`` and ``token_id``: the server makes no token for one device
        if they do not come back.

        :returns: text.
        """

    def login(login, password):
        """Check a password (async), in about the same time whether the login exists or not.

        :returns: the ``model.User`` as the storage had them when the password was checked: a new token takes ``valid_from`` of it.
        :raises UnknownLogin: no such login. The server tells the client only ``Invalid credentials``.
        :raises InvalidCredentials: wrong password.
        :raises UserLocked: right password, but the user is not active.
        :raises AuthUnavailable: what must be asked (a directory such as LDAP) is away, so that nothing is known of the password. The text
            goes to the log, and the client gets 503.
        """

    def hash_password(password):
        """Make what is kept of a new password (async).

        :returns: text for ``User.password``.
        :raises AuthUnavailable: as :meth:`login`.
        """

    def close():
        """Let go of threads and files (async)."""


class IKeyedAuth(Interface):
    """An auth provider that tells equal signing keys from different ones; it need not. Servers on one storage compare theirs."""

    def key_fingerprint():
        """Tell equal keys from different ones, without telling anything of the key itself.

        :returns: an integer from 1 to 2**30 - 1, the same wherever the key is the same: of an HMAC of a fixed text, say.
        """


class ISelfCheck(Interface):
    """A storage, bus or auth provider that can tell that it does not do what it promises; it need not."""

    def problem():
        """Look, without waiting and at little cost: this is called every few seconds, and for ``/health/ready``.

        :returns: one line that says what is wrong and what to do, of which a change is logged; empty when nothing is. While there is one,
            a storage is ``down`` in ``/health/ready``.
        """


class IProvider(Interface):
    """One line of what can be configured as ``name:argument``. Declared as a plugin drop-in or an entry point; both are equal.

    Listing providers must be cheap: heavy modules are imported in :meth:`open`.
    """

    role = Attribute("``storage``, ``messages``, ``bus`` or ``auth``. A storage also serves as messages.")
    name = Attribute("The text before the colon: lower case letters, digits and dashes.")
    description = Attribute("One line for ``--help-providers``.")
    argument_form = Attribute("What belongs after the colon, such as ``PATH``; empty when nothing does.")

    def open(argument, context):
        """Build the provider, without waiting. Storages do not touch the outside world yet: ``IStorage.open`` does that. An auth provider,
        which has no ``open`` of its own, may read the small files that it needs.

        :param argument: all after the first colon.
        :param context: a :class:`ProviderContext`.
        :returns: an object that provides the interface of the role.
        :raises ConfigurationError: the argument is wrong; one line that says how it should look. The server puts the name of the provider
            and its package in front. Anything else is reported as a mistake in the package, with its place; the server does not start.
        """


class ICheckableProvider(IProvider):
    """A provider that can say what is wrong without opening anything; it is optional. ``devicehive --check-config`` and
    ``devicehive doctor`` ask it.
    """

    def check(argument, context):
        """Look at what :meth:`IProvider.open`, and the ``open`` of a storage, would need: the form of the argument, files and their rights.
        Nothing is made or changed, and nobody is contacted. It returns at once.

        :param argument: as for :meth:`IProvider.open`.
        :param context: a :class:`CheckContext`.
        :returns: a sequence of ``model.Finding`` with more to say, or ``None``.
        :raises ConfigurationError: it cannot work as configured; one line that says what is wrong and how to correct it.
        """


class IExaminableProvider(ICheckableProvider):
    """A provider that can be examined together with what it stands for: its data, its backend, its keys; it is optional.
    ``devicehive doctor`` calls :meth:`examine` instead of :meth:`ICheckableProvider.check`, also while servers work on the data.
    """

    def examine(argument: str, context: CheckContext) -> Examination:
        """Look at everything that the provider needs, and change nothing: no file is made, no schema is upgraded, no server waits.

        Unlike all other calls, this one may block: it runs in a process of its own, in which no reactor runs. It ends by itself, after
        some seconds at most. It also works where :meth:`IProvider.open` cannot, such as where a driver is not installed.

        :param argument: as for :meth:`IProvider.open`.
        :returns: what was found. What is wrong is a finding, not an exception.
        :raises ConfigurationError: there is nothing to examine, because the argument is wrong; one line that says how it should look.
        """


class IFileProvider(IProvider):
    """A provider of storages that keeps the data of each in one file; it is optional. The server finds the control socket beside that file,
    the shell works as the owner of that file, and ``devicehive doctor`` looks at its disk.
    """

    def data_file(argument: str) -> str:
        """Say where the data are. The file need not exist. Nothing is opened.

        :param argument: as for :meth:`IProvider.open`.
        :returns: the absolute path with all symbolic links resolved: equal for two arguments that mean the same file.
        """


class ProviderContext:
    """What the server hands to every provider, whatever its role.

    :ivar reactor: gives time (``seconds``), delayed calls and threads; the only source of any of them.
    :ivar settings: the whole configuration, a ``config.Settings``; a provider reads its own section.
    :ivar storage: the opened entity storage; ``None`` while storages themselves are being built.
    :ivar messages: the opened message storage, often the same object; ``None`` while storages themselves are being built.
    """

    __slots__ = ("messages", "reactor", "settings", "storage")

    def __init__(self, reactor, settings, storage=None, messages=None):
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
    """A session's way to its client; each transport has one."""

    congested: bool = Attribute(
        "True while the client does not read what is sent: the session then accepts no requests and pauses replays."
    )
    rest_url: str = Attribute("Where the client finds the REST API of this server, for ``server/info``.")
    account: Any = Attribute("The client's ``core.budget.Account``. The transport closes it when the connection has ended.")

    def send(payload):
        """Send one whole message, JSON as bytes. A reply always leaves, however large."""

    def send_event(prefix, body):
        """Send one whole message given in two parts of bytes. Ends the connection when the client has fallen too far behind."""

    def abort(reason):
        """End the connection, since what was promised on it cannot be kept; the client connects again.

        :param reason: a few words, for the log.
        """

    def pause():
        """Take no more input until :meth:`resume`."""

    def resume():
        """Take input again."""
