"""Fills :class:`dhtwisted.config.settings.Settings`: built-in defaults < TOML file < credentials of systemd < environment < command line.

Every mistake is a :class:`~dhtwisted.errors.ConfigurationError` of one line: where it is, what is wrong, what is expected.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, NamedTuple

from dhtwisted.config.endpoints import is_tls
from dhtwisted.config.environment import PREFIX, Variables
from dhtwisted.config.settings import Settings
from dhtwisted.config.suggestions import printable, suggestion
from dhtwisted.config.tables import Tables
from dhtwisted.errors import ConfigurationError
from dhtwisted.kit.text_files import BYTE_ORDER_MARK, decode_text

FILE, CREDENTIAL, ENVIRONMENT, COMMAND_LINE = "file", "credential", "environment", "command line"
CREDENTIALS = {"auth-secret": ("auth", "secret"), "admin-password": ("auth", "admin_password")}
"""Name of a systemd credential, a file in ``$CREDENTIALS_DIRECTORY`` -> the option that it sets."""

_DEFAULTS = Settings()
_SECTIONS: dict[str, Any] = {section.name: getattr(_DEFAULTS, section.name) for section in fields(Settings)}
_OPTIONS: dict[str, dict[str, Field[Any]]] = {
    name: {option.name: option for option in fields(section)} for name, section in _SECTIONS.items()
}
_VARIABLES = Variables(_OPTIONS)


class Source(NamedTuple):
    """Where a value was set.

    :ivar kind: :data:`FILE`, :data:`CREDENTIAL`, :data:`ENVIRONMENT` or :data:`COMMAND_LINE`.
    :ivar name: the path of the file or credential, the variable, or the option of the command line.
    :ivar is_secret: whether the value contains a password.
    """

    kind: str
    name: str
    is_secret: bool = False


@dataclass(frozen=True)
class Configuration:
    """The settings, and where each comes from.

    :ivar settings: the settings in force.
    :ivar sources: ``section.key`` -> its sources; the last one is in force. An option with its default has none.
    :ivar unknown_variables: a line for each variable of the environment that looks like an option but is none.
    """

    settings: Settings
    sources: dict[str, list[Source]] = field(default_factory=dict)
    unknown_variables: tuple[str, ...] = ()

    def source(self, option: str) -> Source | None:
        """Where the value in force comes from; ``None`` for a default.

        :param option: ``section.key``.
        """
        return self.sources[option][-1] if option in self.sources else None

    def place(self, option: str) -> str:
        """Where to change an option, so that the change takes effect.

        :param option: ``section.key``.
        """
        source = self.source(option)
        if source is None:
            return option
        return f"{option} in {source.name}" if source.kind == FILE else source.name


Override = tuple[str, str, str, Any]
"""An option of the command line: its name, section, key, and value: a text or a list of texts."""


def load_settings(
    path: str | os.PathLike[str] | None = None, environment: Mapping[str, str] | None = None, overrides: Iterable[Override] = ()
) -> Settings:
    """Read the configuration; see :func:`load_configuration`."""
    return load_configuration(path, environment, overrides).settings


def load_configuration(
    path: str | os.PathLike[str] | None = None, environment: Mapping[str, str] | None = None, overrides: Iterable[Override] = ()
) -> Configuration:
    """Read the configuration, and remember where each value comes from.

    :param path: a TOML file; ``None`` for no file.
    :param environment: such as ``os.environ``. It may contain variables of other programs.
    :param overrides: the options of the command line.
    :raises ConfigurationError: the configuration is wrong.
    """
    environment = environment or {}
    values = _Values()
    if path is not None:
        _read_file(values, os.fspath(path))
    _read_credentials(values, environment.get("CREDENTIALS_DIRECTORY"))
    for variable, section, key, text in _VARIABLES.given(environment):
        values.add(Source(ENVIRONMENT, variable), variable, section, key, text, as_text=True)
    for option, section, key, value in overrides:
        values.add(Source(COMMAND_LINE, option), option, section, key, value, as_text=isinstance(value, str))
    settings = Settings(**{name: replace(section, **values.given[name]) for name, section in _SECTIONS.items()})
    _check_together(settings)
    return Configuration(settings, values.sources, _VARIABLES.unknown(environment))


def _check_together(settings: Settings) -> None:
    """Check what options of several sections must have in common.

    :raises ConfigurationError: they do not fit each other.
    """
    for option, listen in (("server.listen", settings.server.listen), ("mqtt.listen", settings.mqtt.listen)):
        if any(map(is_tls, listen)) and not settings.tls.certificate:
            raise ConfigurationError(f"tls.certificate: an endpoint of {option} begins with tls:, so it must name a file")
    if settings.mqtt.plain_topics and settings.bus.provider.partition(":")[0] != "local":
        raise ConfigurationError(
            "mqtt.plain_topics: must be false where bus.provider is for several nodes, because no bus carries plain topics yet; topics "
            "below dh/ and those of mqtt.map work with several nodes"
        )


def example_file() -> str:
    """The text of ``conf/devicehive.toml``: every option with its default and its reason."""
    lines = [
        "# Every option of the server with its default. Durations have a unit (90s, 30m, 12h, 7d). Sizes are bytes or 64KiB, 1MiB, 2GiB.",
        f"# The environment ({PREFIX}<SECTION>_<KEY>, lists with commas) takes precedence over this file, the command line over both.",
        "# Made by: devicehive --example-config",
    ]
    for name, section in _SECTIONS.items():
        lines += ["", f"# {section.__doc__.splitlines()[0]}", f"[{name}]"]
        for option in _OPTIONS[name].values():
            if not option.metadata["environment_only"]:
                lines += [
                    f"# {option.metadata['reason']}",
                    *_example(name, option.name, option.metadata["kind"], getattr(section, option.name)),
                ]
    return "\n".join(lines) + "\n"


def _example(section: str, key: str, kind: Any, value: Any) -> list[str]:
    """The lines of an option in the example file."""
    if isinstance(kind, Tables):
        return [f"# [[{section}.{key}]]", *(f"# {line}" for line in kind.example)]
    return [f"{key} = {kind.to_toml(value)}"]


class _Values:
    """The values that were set so far.

    :ivar given: section -> key -> value.
    :ivar sources: as in :class:`Configuration`.
    """

    def __init__(self) -> None:
        self.given: dict[str, dict[str, Any]] = {name: {} for name in _SECTIONS}
        self.sources: dict[str, list[Source]] = {}

    def add(self, source: Source, place: str, section: str, key: str, value: Any, as_text: bool) -> None:
        """Check and keep a value.

        :param place: names the place of the value in messages.
        :param as_text: it is written as text, not as in TOML.
        """
        kind = _OPTIONS[section][key].metadata["kind"]
        try:
            self.given[section][key] = checked = kind.from_text(value) if as_text else kind.from_toml(value)
        except ValueError as error:
            raise ConfigurationError(f"{place}: {kind.explain(value, error)}") from error
        self.sources.setdefault(f"{section}.{key}", []).append(source._replace(is_secret=kind.holds_secret(checked)))


def _read_file(values: _Values, path: str) -> None:
    for section, table in _read_document(path).items():
        if section not in _SECTIONS:
            raise ConfigurationError(f"{path}: {printable(section)}: is no section; {suggestion(section, _SECTIONS)}")
        if not isinstance(table, dict):
            raise ConfigurationError(f"{path}: {section}: is a section, which contains options; write [{section}] on a line of its own")
        for key, value in table.items():
            if key not in _OPTIONS[section]:
                raise ConfigurationError(f"{path}: {section}.{printable(key)}: is no option; {suggestion(key, _OPTIONS[section])}")
            if _OPTIONS[section][key].metadata["environment_only"]:
                variable = f"{PREFIX}{section}_{key}".upper()
                raise ConfigurationError(f"{path}: {section}.{key}: must not be in this file: use {section}.{key}_file or {variable}")
            values.add(Source(FILE, path), f"{path}: {section}.{key}", section, key, value, as_text=False)


def _read_document(path: str) -> dict[str, Any]:
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
        # Also numbers with thousands of digits, and lists nested without end.
        raise ConfigurationError(f"{path}: is not valid TOML ({error}); devicehive --example-config shows the form") from error


def _read_credentials(values: _Values, directory: str | None) -> None:
    """Read the credentials that systemd passes in files. A key file that the configuration names takes precedence over a credential."""
    if not directory:
        return
    for name, (section, key) in CREDENTIALS.items():
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
            # The mark would be part of the key, or not. Only the user knows with which key tokens were signed.
            raise ConfigurationError(f"{place}: the credential begins with a byte order mark; save it without the mark")
        values.add(Source(CREDENTIAL, place), place, section, key, text.removesuffix("\n").removesuffix("\r"), as_text=True)
