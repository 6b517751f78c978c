"""The providers: what each says about itself, its data and its backend. Nothing is opened."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from msgspec.structs import replace

from dhtwisted.cli.doctor.findings import Finding, by_provider, ok, wrong
from dhtwisted.config.settings import Settings
from dhtwisted.config.sources import Configuration
from dhtwisted.errors import ConfigurationError
from dhtwisted.interfaces import CheckContext, ProviderContext
from dhtwisted.model import Examination
from dhtwisted.providers.lookup import check_provider, examine_provider, open_provider
from dhtwisted.providers.opening import data_file

STORAGE, MESSAGES, BUS, AUTH = "storage.provider", "storage.messages", "bus.provider", "auth.provider"
STORAGES = {STORAGE: "storage", MESSAGES: "messages"}
OTHERS = {BUS: "bus", AUTH: "auth"}
"""Option -> role."""


@dataclass
class Examined:
    """What the providers of a configuration said.

    :ivar checked: findings of those that can only be checked.
    :ivar findings: option -> findings of the provider that was examined.
    :ivar examinations: option -> all that the provider knows.
    """

    checked: list[Finding] = field(default_factory=list)
    findings: dict[str, list[Finding]] = field(default_factory=dict)
    examinations: dict[str, Examination] = field(default_factory=dict)

    @property
    def newest(self) -> list[int]:
        """The times of the newest messages of the storages, in milliseconds."""
        return [found.newest for found in self.examinations.values() if found.newest is not None]

    @property
    def is_served(self) -> bool | None:
        """Whether a server works on the data; ``None`` when that is not known."""
        known = [found.is_served for found in self.examinations.values() if found.is_served is not None]
        return any(known) if known else None

    @property
    def process(self) -> int | None:
        """The id of the process that works on the data; ``None`` when it is not known."""
        return self.examinations[STORAGE].process if STORAGE in self.examinations else None

    @property
    def logins(self) -> Collection[str] | None:
        """The logins of all users; ``None`` when they are not known."""
        return self.examinations[STORAGE].logins if STORAGE in self.examinations else None

    @property
    def key(self) -> int:
        """A fingerprint of the signing key; 0 when it is not known."""
        return self.examinations[AUTH].key if AUTH in self.examinations else 0

    def about(self, *options: str) -> list[Finding]:
        """The findings about some options, in order."""
        return [finding for option in options for finding in self.findings.get(option, [])]


def check_providers(configuration: Configuration) -> list[Finding]:
    """Check each provider, as ``--check-config`` does: no data are read, and nobody is contacted."""
    context = build_storages(configuration.settings)
    return [
        finding
        for option, role, specification in _configured(configuration.settings, context)
        for finding in _check(configuration, option, role, specification, context)
    ]


def examine_providers(configuration: Configuration, problems: Collection[str] = ()) -> Examined:
    """Examine each provider that can be examined, and check the others.

    :param problems: what the running server says of its parts. Of a file that it names nothing more is said.
    """
    settings, examined = configuration.settings, Examined()
    context = build_storages(settings)
    for option, role, specification in _configured(settings, context):
        path = data_file(role, specification) if option in STORAGES else None
        if option == MESSAGES and path is not None and path == data_file("storage", settings.storage.provider):
            text = f"{path}: is the file of the storage too; leave storage.messages empty, or name another"
            examined.findings[option] = [wrong(role, f"{configuration.place(option)}: {text}")]
            continue
        try:
            found = examine_provider(role, specification, _context(configuration, option, context))
        except ConfigurationError as error:
            examined.checked.append(wrong(role, f"{configuration.place(option)}: {error}"))
            continue
        if found is None:
            examined.checked += _check(configuration, option, role, specification, context)
            continue
        if path is not None and any(path in problem for problem in problems):
            found = replace(found, findings=(), newest=None)
        examined.examinations[option] = found
        examined.findings[option] = [by_provider(role, finding) for finding in found.findings]
    return examined


def _configured(settings: Settings, context: ProviderContext) -> Iterator[tuple[str, str, str]]:
    """Option, role and specification of each provider; no bus and no auth provider where the storages cannot even be built."""
    for option, role in (STORAGES | (OTHERS if context.storage is not None else {})).items():
        specification = specification_of(settings, option)
        if specification:
            yield option, role, specification


def _check(configuration: Configuration, option: str, role: str, specification: str, context: ProviderContext) -> list[Finding]:
    try:
        found = check_provider(role, specification, _context(configuration, option, context))
    except ConfigurationError as error:
        return [wrong(role, f"{configuration.place(option)}: {error}")]
    if found is None:
        return [ok(role, f"{specification.partition(':')[0]}: was not looked at, since this provider cannot be asked")]
    return [by_provider(role, finding) for finding in found]


def _context(configuration: Configuration, option: str, context: ProviderContext) -> CheckContext:
    path = data_file("storage", configuration.settings.storage.provider)
    return CheckContext(context, configuration.place(option), configuration.place, path)


def specification_of(settings: Settings, option: str) -> str:
    """The value of an option such as ``storage.provider``."""
    section, _, key = option.partition(".")
    return getattr(getattr(settings, section), key)


def data_files(settings: Settings) -> list[str]:
    """The paths of the data files that are configured."""
    paths = [data_file(role, specification_of(settings, option)) for option, role in STORAGES.items()]
    return [path for path in paths if path is not None]


def build_storages(settings: Settings) -> ProviderContext:
    """Build the storages, and open none.

    :returns: their context; without storages if one cannot be built.
    """
    from twisted.internet import reactor

    context = ProviderContext(reactor, settings)
    try:
        storage = open_provider("storage", settings.storage.provider, context)
        messages = open_provider("messages", settings.storage.messages, context) if settings.storage.messages else storage
    except ConfigurationError:
        # What is wrong is found by asking the provider.
        return context
    return ProviderContext(reactor, settings, storage, messages)
