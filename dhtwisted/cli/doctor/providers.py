"""The providers: what each says of itself, nothing being opened."""

from dhtwisted.cli.doctor.findings import ok, wrong
from dhtwisted.errors import ConfigurationError
from dhtwisted.interfaces import ProviderContext
from dhtwisted.providers.lookup import check_provider, open_provider

STORAGES = {"storage.provider": "storage", "storage.messages": "messages"}
OWN_KEYS = "jwt"
"""The auth provider of which :func:`~dhtwisted.cli.doctor.keys.check_secret` knows all."""

OTHERS = {"bus.provider": "bus", "auth.provider": "auth"}
"""Option -> role."""


def specification_of(settings, option):
    """The value of an option such as ``storage.provider``."""
    section, _, key = option.partition(".")
    return getattr(getattr(settings, section), key)


def check_providers(configuration, elsewhere=None):
    """Ask every provider.

    :param elsewhere: option -> names of providers that are looked at more closely elsewhere.
    :returns: findings; none for a bus and an auth provider where the storages cannot even be built.
    """
    settings = configuration.settings
    context, findings = build_storages(settings), []
    for option, role in (STORAGES | (OTHERS if context.storage is not None else {})).items():
        specification = specification_of(settings, option)
        name = specification.partition(":")[0]
        if name and name != OWN_KEYS and name not in (elsewhere or {}).get(option, ()):
            findings += _ask(configuration, option, role, specification, context)
    return findings


def _ask(configuration, option, role, specification, context):
    try:
        can_tell = check_provider(role, specification, context)
    except ConfigurationError as error:
        return [wrong(role, f"{configuration.place(option)}: {error}")]
    return [] if can_tell else [ok(role, f"{specification.partition(':')[0]}: was not looked at, since this provider cannot be asked")]


def build_storages(settings):
    """Build the storages, and open none.

    :returns: a :class:`~dhtwisted.interfaces.ProviderContext`; without storages if one cannot be built.
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
