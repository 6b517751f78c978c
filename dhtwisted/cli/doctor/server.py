"""The running server, asked by its control socket."""

import json
from dataclasses import fields
from typing import Any

from dhtwisted.cli.control_client import server_status
from dhtwisted.cli.doctor.findings import Finding, ok, warning, wrong
from dhtwisted.config.kinds import Hidden
from dhtwisted.config.settings import Settings
from dhtwisted.config.sources import Configuration
from dhtwisted.control.status import masked_settings
from dhtwisted.errors import CommandError, ConfigurationError


def check_server(configuration: Configuration) -> tuple[list[Finding], dict[str, Any] | None]:
    """Ask the server that works on the data for its state.

    :returns: findings, and the state as :func:`~dhtwisted.cli.control_client.server_status` gives it; ``None`` for no server.
    """
    settings = configuration.settings
    try:
        state = server_status(settings)
    except CommandError as error:
        return [wrong("server", str(error))], None
    except (ConfigurationError, OSError):
        return [], None  # It is a finding about the storage.
    if state is None:
        return [], None
    return [_check_readiness(state), *_check_settings(settings, state)], state


def _check_readiness(state: dict[str, Any]) -> Finding:
    text = f"process {state['process']} of version {state['version']} listens on {', '.join(state['addresses'])}"
    down = [part for part, condition in state["parts"].items() if condition != "up"]
    if state["problems"]:
        return wrong("server", f"{text}, and is not ready: {'; '.join(state['problems'].values())}")
    if down:
        return wrong("server", f"{text}, and is not ready ({', '.join(down)} down); its log says why")
    return ok("server", f"{text}, and is ready")


def _check_settings(settings: Settings, state: dict[str, Any]) -> list[Finding]:
    """Compare the settings of the running server with the configuration, except for passwords: the server does not show them."""
    configured = json.loads(json.dumps(masked_settings(settings)))
    found = []
    for section in fields(settings):
        for option in fields(getattr(settings, section.name)):
            current = state["settings"].get(section.name, {}).get(option.name)
            if not isinstance(option.metadata["kind"], Hidden) and current != configured[section.name][option.name]:
                found.append(f"{section.name}.{option.name}")
    if not found:
        return []
    text = f"it runs with other values of {', '.join(found)} than are configured; restart it"
    return [warning("server", f"{text}, or run this with the options and the environment of the service")]
