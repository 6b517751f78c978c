"""Fill :class:`dhtwisted.config.Settings`: built-in defaults < TOML file < credentials of systemd < environment < command line.

Every mistake is a :class:`~dhtwisted.errors.ConfigurationError` of one line: where it stands, what is wrong, what is expected.
"""

import os
import tomllib
from dataclasses import fields, replace
from difflib import get_close_matches

from dhtwisted.config import Settings
from dhtwisted.endpoints import is_tls
from dhtwisted.errors import ConfigurationError

ENVIRONMENT_PREFIX = "DHTWISTED_"
CREDENTIALS = {"auth-secret": ("auth", "secret"), "admin-password": ("auth", "admin_password")}
"""Name of a systemd credential -> the option that it gives, as a file in ``$CREDENTIALS_DIRECTORY``."""

_DEFAULTS = Settings()
_SECTIONS = {section.name: getattr(_DEFAULTS, section.name) for section in fields(Settings)}
_OPTIONS = {name: {option.name: option for option in fields(section)} for name, section in _SECTIONS.items()}


def load_settings(path=None, environment=None, overrides=()):
    """Read the configuration.

    :param path: a TOML file; ``None`` for no file.
    :param environment: a mapping such as ``os.environ``; other programs' variables in it do not matter.
    :param overrides: ``(place, section, key, value)`` from the command line; ``place`` is how messages call it, ``value`` a text or a
        list of texts.
    :returns: a :class:`~dhtwisted.config.Settings`.
    :raises ConfigurationError: anything is wrong.
    """
    values = {name: {} for name in _SECTIONS}
    if path is not None:
        _read_file(values, path)
    _read_credentials(values, (environment or {}).get("CREDENTIALS_DIRECTORY"))
    _read_environment(values, environment or {})
    for place, section, key, value in overrides:
        _take(values, place, _OPTIONS[section][key], section, value, as_text=isinstance(value, str))
    settings = Settings(**{name: replace(section, **values[name]) for name, section in _SECTIONS.items()})
    if any(map(is_tls, settings.server.listen)) and not settings.tls.certificate:
        raise ConfigurationError("tls.certificate: an endpoint of server.listen begins with tls:, so it must name a file")
    return settings


def example_file():
    """Write a configuration file with every option, its default and its reason.

    :returns: the text of ``conf/devicehive.toml``.
    """
    lines = [
        "# Every option of the server with its default. Durations have a unit (90s, 30m, 12h, 7d), sizes are bytes or 64KiB, 1MiB, 2GiB.",
        f"# The environment wins over this file ({ENVIRONMENT_PREFIX}<SECTION>_<KEY>, lists with commas), the command line over both.",
        "# Made by: devicehive --example-config",
    ]
    for name, section in _SECTIONS.items():
        lines += ["", f"# {section.__doc__.splitlines()[0]}", f"[{name}]"]
        for option in _OPTIONS[name].values():
            if not option.metadata["environment_only"]:
                value = option.metadata["kind"].to_toml(getattr(section, option.name))
                lines += [f"# {option.metadata['reason']}", f"{option.name} = {value}"]
    return "\n".join(lines) + "\n"


def _read_file(values, path):
    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}); name a file that this user may read") from error
    except (ValueError, RecursionError) as error:
        # Not only what tomllib itself says: numbers of thousands of digits, and lists in lists without end, too.
        raise ConfigurationError(f"{path}: is not valid TOML ({error}); devicehive --example-config shows the form") from error
    for section, table in document.items():
        if section not in _SECTIONS:
            raise ConfigurationError(f"{path}: {_shown(section)}: is no section; {_instead(section, _SECTIONS)}")
        if not isinstance(table, dict):
            raise ConfigurationError(f"{path}: {section}: is a section and holds options; write [{section}] on a line of its own")
        for key, value in table.items():
            option = _find_option(f"{path}: {section}.{_shown(key)}", section, key)
            if option.metadata["environment_only"]:
                variable = f"{ENVIRONMENT_PREFIX}{section}_{key}".upper()
                raise ConfigurationError(f"{path}: {section}.{key}: belongs in a file of its own ({section}.{key}_file) or in {variable}")
            _take(values, f"{path}: {section}.{key}", option, section, value, as_text=False)


def _read_credentials(values, directory):
    """Take what systemd hands over in files. A key file that the configuration names is not passed over for one that it does not."""
    for name, (section, key) in CREDENTIALS.items() if directory else ():
        place = os.path.join(directory, name)
        if not os.path.exists(place) or (key == "secret" and values["auth"].get("secret_file")):
            continue
        try:
            with open(place, encoding="utf-8") as file:
                text = file.read()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{place}: the credential cannot be read ({type(error).__name__})") from error
        _take(values, place, _OPTIONS[section][key], section, text.removesuffix("\n").removesuffix("\r"), as_text=True)


def _read_environment(values, environment):
    for variable, text in sorted(environment.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        section, _, key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().partition("_")
        if section in _SECTIONS:
            _take(values, variable, _find_option(variable, section, key), section, text, as_text=True)
        elif get_close_matches(section, _SECTIONS, cutoff=0.85):
            # Others are not ours to refuse: Kubernetes sets DHTWISTED_SERVICE_HOST and the like for a service that is named dhtwisted.
            raise ConfigurationError(f"{variable}: {section.upper()} is no section; {_instead(section, _SECTIONS)}")


def _find_option(place, section, key):
    option = _OPTIONS[section].get(key)
    if option is None:
        raise ConfigurationError(f"{place}: is no option; {_instead(key, _OPTIONS[section])}")
    return option


def _shown(name):
    return name if name.isprintable() and name else ascii(name)


def _instead(name, known):
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"


def _take(values, place, option, section, value, as_text):
    kind = option.metadata["kind"]
    try:
        values[section][option.name] = kind.from_text(value) if as_text else kind.from_toml(value)
    except ValueError as error:
        raise ConfigurationError(f"{place}: {kind.show(value)} {error}; expected {kind.expected}") from error
