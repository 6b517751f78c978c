"""Find what a ``name:argument`` string of the configuration stands for.

A provider is declared in one of three equal ways: built in, as an entry point in the group ``dhtwisted.providers``, or as a Twisted plugin
drop-in (an object in a module of ``twisted.plugins``). Each mistake has one sentence. A declaration that cannot be loaded is kept with the
reason: it is an error only for those who configure it. A later error of a provider names it and its package: the person who starts the
server sees no traceback, and knows whom to ask.
"""

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
import twisted.plugins
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.plugin import getCache
from twisted.python.failure import Failure
from zope.interface import provider as provides
from zope.interface.exceptions import Invalid
from zope.interface.interface import InterfaceClass
from zope.interface.verify import verifyObject

from dhtwisted.errors import UNREADABLE, AuthUnavailable, ConfigurationError, ProviderError, StorageError
from dhtwisted.interfaces import (
    CheckContext,
    IAuthProvider,
    ICheckableProvider,
    IExaminableProvider,
    IMessageBus,
    IMessageStorage,
    IProvider,
    IStorage,
    ProviderContext,
)
from dhtwisted.model import Examination, Finding
from dhtwisted.providers.builtin import PROVIDERS

ENTRY_POINT_GROUP = "dhtwisted.providers"
EXPECTED = (ConfigurationError, StorageError, AuthUnavailable)
"""What a provider raises on purpose, with a text for the operator."""

_loaded: WeakKeyDictionary[ModuleType, dict[str, object]] = WeakKeyDictionary()
"""Module -> attribute -> what it was when it was first loaded."""

INTERFACES = {"storage": IStorage, "messages": IMessageStorage, "bus": IMessageBus, "auth": IAuthProvider}


@dataclass(frozen=True)
class Declaration:
    """One provider that some package declares.

    :ivar origin: the package and the place in it, in words.
    :ivar provider: what was declared; ``None`` when it cannot be used.
    :ivar hint: the name under which it was declared.
    :ivar problem: why it cannot be used; empty when it can.
    """

    origin: str
    hint: str
    provider: IProvider | None = None
    problem: str = ""

    def serves(self, role: str) -> bool:
        """Whether it can be configured for a role. A storage also serves as messages."""
        return self.provider is not None and (self.provider.role == role or (self.provider.role, role) == ("storage", "messages"))


def declarations() -> list[Declaration]:
    """List all providers of all packages.

    :returns: the usable and the unusable ones. An object that is declared in several ways is there once.
    """
    found = [Declaration("dhtwisted itself", provider.name, provider) for provider in PROVIDERS]
    for declaration in (*_from_entry_points(), *_from_drop_ins()):
        if declaration.provider is None or all(declaration.provider is not other.provider for other in found):
            found.append(declaration)
    return found


def find(role: str, specification: str) -> tuple[IProvider, str]:
    """Look up a provider without opening it.

    :param role: ``storage``, ``messages``, ``bus`` or ``auth``.
    :param specification: ``name:argument``.
    :returns: the provider and its argument.
    :raises ProviderError: there is no such provider, more than one, or the argument is missing or too much.
    """
    name, colon, argument = specification.partition(":")
    if not colon:
        raise ProviderError(f"{role} provider {name!r} lacks its colon; the form is name:argument, as in {name or 'memory'}:")
    provider = _provider_named(role, name)
    form = provider.argument_form
    if argument and not form:
        raise ProviderError(f"{role} provider {name}: takes no argument; write {name}: alone")
    if form and not argument and not form.startswith("["):
        raise ProviderError(f"{role} provider {name}: needs its argument; write {name}:{form}")
    return provider, argument


def open_provider(role: str, specification: str, context: ProviderContext) -> Any:
    """Build what a provider string stands for, and check that it has the methods of its role.

    :raises ConfigurationError: as :func:`find`, or the argument is wrong, or what the provider built does not fit its role.
    """
    provider, argument = find(role, specification)
    with naming(role, specification):
        built = provider.open(argument, context)
        problem = _verify(INTERFACES[role], built)
        if problem:
            raise ProviderError(f"it built something that does not fit its role: {problem}")
    return built


@contextmanager
def naming(role: str, specification: str) -> Iterator[None]:
    """Name the provider and its package in each error of the block, in which only a provider is called.

    Errors of the providers of this package do not change: their texts are complete, and a defect needs its traceback.

    :raises ProviderError: instead of what the block raised.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        declaration = _find_named(role, specification.partition(":")[0])
        if any(declaration.provider is own for own in PROVIDERS):
            raise
        reason = (
            _one_line(error) if isinstance(error, EXPECTED) and str(error) else f"a mistake in it: {_in_one_line(error)}{_place(error)}"
        )
        raise ProviderError(f"{role} provider {declaration.hint} of {declaration.origin}: {reason}") from error


def check_provider(role: str, specification: str, context: CheckContext) -> Sequence[Finding] | None:
    """Have a provider say what is wrong, without opening anything.

    :returns: its findings; ``None`` for a provider that cannot be asked. For such a storage, only the argument was checked.
    :raises ConfigurationError: as :func:`find`, or what the provider says.
    """
    provider, argument = find(role, specification)
    if ICheckableProvider.providedBy(provider):
        with naming(role, specification):
            return _returned("check", provider.check(argument, context) or [], Sequence[Finding])
    if role in ("storage", "messages"):
        open_provider(role, specification, context)
    return None


def examine_provider(role: str, specification: str, context: CheckContext) -> Examination | None:
    """Have a provider look at everything that it needs.

    :returns: what it found; ``None`` for a provider that cannot be examined.
    :raises ConfigurationError: as :func:`find`, or what the provider says.
    """
    provider, argument = find(role, specification)
    if not IExaminableProvider.providedBy(provider):
        return None
    with naming(role, specification):
        return _returned("examine", provider.examine(argument, context), Examination)


def _returned(method: str, value: object, kind: Any) -> Any:
    """What a provider returned, if it is what it should be.

    :raises ProviderError: it is something else.
    """
    try:
        return msgspec.convert(msgspec.to_builtins(value), kind)
    except (TypeError, *UNREADABLE) as error:
        raise ProviderError(f"its {method} returned what it must not: {error}") from error


def describe_all() -> str:
    """Make the page for ``--help-providers``."""
    lines = []
    known = declarations()
    for role in INTERFACES:
        lines.append(f"{role}:")
        for declaration in known:
            provider = declaration.provider
            if provider is not None and declaration.serves(role):
                lines.append(f"  {provider.name + ':' + provider.argument_form:<24} {provider.description} ({declaration.origin})")
    broken = [f"  {declaration.hint}: {declaration.problem} ({declaration.origin})" for declaration in known if declaration.problem]
    return "\n".join([*lines, *(["cannot be used:", *broken] if broken else [])])


def _provider_named(role: str, name: str) -> IProvider:
    provider = _find_named(role, name).provider
    assert provider is not None  # It serves the role.
    return provider


def _find_named(role: str, name: str) -> Declaration:
    known = declarations()
    matches = [declaration for declaration in known if declaration.serves(role) and declaration.hint == name]
    if len(matches) > 1:
        owners = " and ".join(declaration.origin for declaration in matches)
        raise ProviderError(f"{role} provider {name!r} is declared twice, by {owners}; remove one of them")
    if matches:
        return matches[0]
    for declaration in known:
        if declaration.problem and declaration.hint == name:
            raise ProviderError(f"{role} provider {name!r} of {declaration.origin} cannot be used: {declaration.problem}")
    names = sorted({declaration.hint + ":" for declaration in known if declaration.serves(role)})
    raise ProviderError(f"there is no {role} provider {name!r}; known are {' '.join(names)}")


def _from_entry_points() -> Iterator[Declaration]:
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        package = f"package {entry_point.dist.name} {entry_point.dist.version}, " if entry_point.dist else ""
        yield _load(f"{package}entry point {entry_point.value}", entry_point.name, partial(_load_once, entry_point))


def _load_once(entry_point: EntryPoint) -> object:
    """Load what an entry point names, as it was when it was first loaded. When the provider opens, it may import a submodule of the same
    name, and that import replaces it in its package.
    """
    loaded = _loaded.setdefault(import_module(entry_point.module), {})
    if entry_point.attr not in loaded:
        loaded[entry_point.attr] = entry_point.load()
    return loaded[entry_point.attr]


def _from_drop_ins() -> Iterator[Declaration]:
    failures: list[Failure] = []
    modules: dict[str, Any] = {}

    @provides(ILogObserver)
    def keep_failure(event: LogEvent) -> None:
        if event.get("isError") and not event.get("why"):
            failures.append(event["failure"])

    # Twisted logs a drop-in that it cannot import (by its older interface, hence "isError"), and goes on. Only the log says which one.
    # An error while the cache is written has a "why". It does no harm.
    globalLogPublisher.addObserver(keep_failure)
    try:
        modules = getCache(twisted.plugins)
    finally:
        globalLogPublisher.removeObserver(keep_failure)
    for dropin in modules.values():
        for plugin in dropin.plugins:
            if any(interface.isOrExtends(IProvider) for interface in plugin.provided):
                yield _load(f"drop-in {dropin.moduleName}", plugin.name, plugin.load)
    for failure in failures:
        yield Declaration("drop-in in twisted.plugins", _module_of(failure), problem=_in_one_line(failure.value))


def _module_of(failure: Failure) -> str:
    """Name the drop-in whose import failed: the outermost frame in a plugin folder."""
    files = [frame[1] for frame in failure.frames if "twisted/plugins" in frame[1].replace("\\", "/")]
    return files[0].replace("\\", "/").rpartition("/")[2].removesuffix(".py") if files else "unknown module"


def _load(origin: str, hint: str, load: Callable[[], Any]) -> Declaration:
    try:
        provider = load()
        problem = _verify(IProvider, provider) or _mistake(provider)
    except (Exception, SystemExit) as error:
        # The import of somebody else's module may fail with any error. It must not affect the others.
        return Declaration(origin, hint, problem=f"{_in_one_line(error)}{_place(error)}")
    return Declaration(origin, hint, problem=problem) if problem else Declaration(origin, provider.name, provider)


def _mistake(provider: Any) -> str:
    for attribute in ("role", "name", "description", "argument_form"):
        value = getattr(provider, attribute)
        if not isinstance(value, str):
            return f"its {attribute} is {value!r}, which is no text"
    if provider.role not in INTERFACES:
        return f"its role is {provider.role!r}, which is none of {', '.join(INTERFACES)}"
    return ""


def _verify(interface: InterfaceClass, candidate: object) -> str:
    try:
        verifyObject(interface, candidate)
    except Invalid as error:
        return _in_one_line(error)
    if interface is IMessageStorage and not (hasattr(candidate, "open") and hasattr(candidate, "close")):
        return "it has no open and close"
    return ""


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _in_one_line(error: BaseException) -> str:
    return _one_line(f"{type(error).__name__}: {error}")


def _place(error: BaseException) -> str:
    """Where an error was raised, for the author; empty when no code of a module ran."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
