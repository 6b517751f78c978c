"""Fill :class:`dhtwisted.config.settings.Settings`: built-in defaults < TOML file < credentials of systemd < environment < command line.

Every mistake is a :class:`~dhtwisted.errors.ConfigurationError` of one line: where it stands, what is wrong, what is expected.
"""

import os
import tomllib
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from typing import NamedTuple

from dhtwisted.config.endpoints import is_tls
from dhtwisted.config.environment import PREFIX, Variables
from dhtwisted.config.settings import Settings
from dhtwisted.errors import ConfigurationError
from dhtwisted.kit.text_files import BYTE_ORDER_MARK, decode_text

FILE, CREDENTIAL, ENVIRONMENT, COMMAND_LINE = "file", "credential", "environment", "command line"
CREDENTIALS = {"auth-secret": ("auth", "secret"), "admin-password": ("auth", "admin_password")}
"""Name of a systemd credential -> the option that it gives, as a file in ``$CREDENTIALS_DIRECTORY``."""

_DEFAULTS = Settings()
_SECTIONS = {section.name: getattr(_DEFAULTS, section.name) for section in fields(Settings)}
_OPTIONS = {name: {option.name: option for option in fields(section)} for name, section in _SECTIONS.items()}
_VARIABLES = Variables(_OPTIONS)


class Source(NamedTuple):
    """Where a value was given.

    :ivar kind: :data:`FILE`, :data:`CREDENTIAL`, :data:`ENVIRONMENT` or :data:`COMMAND_LINE`.
    :ivar name: the path of the file or credential, the variable, or the option as it is typed.
    :ivar is_secret: whether the value has a password in it.
    """

    kind: str
    name: str
    is_secret: bool = False


@dataclass(frozen=True)
class Configuration:
    """What was read, and from where.

    :ivar settings: those in force, a :class:`~dhtwisted.config.settings.Settings`.
    :ivar sources: ``section.key`` -> its :class:`Source` objects; the last one is in force. Options with their defaults have none.
    :ivar strangers: a line for each variable of the environment that looks like an option and is none.
    """

    settings: Settings
    sources: dict[str, list[Source]] = field(default_factory=dict)
    strangers: tuple[str, ...] = ()

    def source(self, option):
        """The :class:`Source` of the value in force; ``None`` for a default.

        :param option: ``section.key``.
        """
        return self.sources[option][-1] if option in self.sources else None

    def place(self, option):
        """Say where a person changes an option, so that the change takes effect.

        :param option: ``section.key``.
        """
        source = self.source(option)
        if source is None:
            return option
        return f"{option} in {source.name}" if source.kind == FILE else source.name


def load_settings(path=None, environment=None, overrides=()):
    """Read the configuration; see :func:`load_configuration`.

    :returns: a :class:`~dhtwisted.config.settings.Settings`.
    """
    return load_configuration(path, environment, overrides).settings


def load_configuration(path=None, environment=None, overrides=()):
    """Read the configuration, and keep where each value comes from.

    :param path: a TOML file; ``None`` for no file.
    :param environment: a mapping such as ``os.environ``; other programs' variables in it do not matter.
    :param overrides: ``(place, section, key, value)`` from the command line; ``place`` is how messages call it, ``value`` a text or a
        list of texts.
    :returns: a :class:`Configuration`.
    :raises ConfigurationError: anything is wrong.
    """
    environment = environment or {}
    values = _Values()
    if path is not None:
        _read_file(values, path)
    _read_credentials(values, environment.get("CREDENTIALS_DIRECTORY"))
    for variable, section, key, text in _VARIABLES.given(environment):
        values.take(Source(ENVIRONMENT, variable), variable, section, key, text, as_text=True)
    for option, section, key, value in overrides:
        values.take(Source(COMMAND_LINE, option), option, section, key, value, as_text=isinstance(value, str))
    settings = Settings(**{name: replace(section, **values.given[name]) for name, section in _SECTIONS.items()})
    if any(map(is_tls, settings.server.listen)) and not settings.tls.certificate:
        raise ConfigurationError("tls.certificate: an endpoint of server.listen begins with tls:, so it must name a file")
    return Configuration(settings, values.sources, _VARIABLES.strangers(environment))


def example_file():
    """Write a configuration file with every option, its default and its reason.

    :returns: the text of ``conf/devicehive.toml``.
    """
    lines = [
        "# Every option of the server with its default. Durations have a unit (90s, 30m, 12h, 7d), sizes are bytes or 64KiB, 1MiB, 2GiB.",
        f"# The environment wins over this file ({PREFIX}<SECTION>_<KEY>, lists with commas), the command line over both.",
        "# Made by: devicehive --example-config",
    ]
    for name, section in _SECTIONS.items():
        lines += ["", f"# {section.__doc__.splitlines()[0]}", f"[{name}]"]
        for option in _OPTIONS[name].values():
            if not option.metadata["environment_only"]:
                value = option.metadata["kind"].to_toml(getattr(section, option.name))
                lines += [f"# {option.metadata['reason']}", f"{option.name} = {value}"]
    return "\n".join(lines) + "\n"


class _Values:
    """What was given so far.

    :ivar given: section -> key -> value.
    :ivar sources: as in :class:`Configuration`.
    """

    def __init__(self):
        self.given = {name: {} for name in _SECTIONS}
        self.sources = {}

    def take(self, source, place, section, key, value, as_text):
        """Check and keep a value.

        :param place: how messages call where it stands.
        :param as_text: it is written as a text, not as TOML has it.
        """
        kind = _OPTIONS[section][key].metadata["kind"]
        try:
            self.given[section][key] = taken = kind.from_text(value) if as_text else kind.from_toml(value)
        except ValueError as error:
            raise ConfigurationError(f"{place}: {kind.show(value)} {error}; expected {kind.expected}") from error
        self.sources.setdefault(f"{section}.{key}", []).append(source._replace(is_secret=kind.holds_secret(taken)))


def _read_file(values, path):
    for section, table in _read_document(path).items():
        if section not in _SECTIONS:
            raise ConfigurationError(f"{path}: {_shown(section)}: is no section; {_instead(section, _SECTIONS)}")
        if not isinstance(table, dict):
            raise ConfigurationError(f"{path}: {section}: is a section and holds options; write [{section}] on a line of its own")
        for key, value in table.items():
            if key not in _OPTIONS[section]:
                raise ConfigurationError(f"{path}: {section}.{_shown(key)}: is no option; {_instead(key, _OPTIONS[section])}")
            if _OPTIONS[section][key].metadata["environment_only"]:
                variable = f"{PREFIX}{section}_{key}".upper()
                raise ConfigurationError(f"{path}: {section}.{key}: belongs in a file of its own ({section}.{key}_file) or in {variable}")
            values.take(Source(FILE, path), f"{path}: {section}.{key}", section, key, value, as_text=False)


def _read_document(path):
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}); name a file that this user may read") from error
    try:
        text = decode_text(data)
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # Not only what tomllib itself says: numbers of thousands of digits, and lists in lists without end, too.
        raise ConfigurationError(f"{path}: is not valid TOML ({error}); devicehive --example-config shows the form") from error


def _read_credentials(values, directory):
    """Take what systemd hands over in files. A key file that the configuration names is not passed over for one that it does not."""
    for name, (section, key) in CREDENTIALS.items() if directory else ():
        place = os.path.join(directory, name)
        if not os.path.exists(place) or (key == "secret" and values.given["auth"].get("secret_file")):
            continue
        try:
            with open(place, "rb") as file:
                data = file.read()
            text = decode_text(data)
        except OSError as error:
            raise ConfigurationError(f"{place}: the credential cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise ConfigurationError(f"{place}: the credential {error}") from error
        if key == "secret" and data.startswith(BYTE_ORDER_MARK):
            # It would be another key without it, and whoever has set it knows with which one tokens were signed.
            raise ConfigurationError(f"{place}: the credential begins with a byte order mark; save it without")
        values.take(Source(CREDENTIAL, place), place, section, key, text.removesuffix("\n").removesuffix("\r"), as_text=True)


def _shown(name):
    return name if name.isprintable() and name else ascii(name)


def _instead(name, known):
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
