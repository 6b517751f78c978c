"""What ``twistd`` needs: the options of ``twistd devicehive``, and the service that they describe."""

from __future__ import annotations

import os
import sys

from twisted.logger import Logger

from dhtwisted.cli.server_options import ServerOptions as Options
from dhtwisted.kit.reactor import install_reactor
from dhtwisted.logs.destinations import is_kept
from dhtwisted.logs.observer import ProcessLog
from dhtwisted.service.process import Process
from dhtwisted.service.service import DeviceHiveService
from dhtwisted.service.systemd import Supervisor

__all__ = ["Options", "makeService"]

log = Logger()


def makeService(options: Options) -> DeviceHiveService:
    """Create the service.

    :param options: the command line as ``twistd`` has parsed it.
    """
    if options.subCommand is not None:
        raise SystemExit(f"devicehive: {options.subCommand} is no service: run it as devicehive {options.subCommand}, without twistd")
    install_reactor()
    from twisted.internet import reactor

    for line in options.unknown_variables:
        log.warn("{line}", line=line)
    foreground = options.parent is None or bool(options.parent.get("nodaemon"))
    process = Process(reactor, Supervisor(reactor, os.environ))
    # A password must not be written to a journal or a file.
    foreground = foreground and not is_kept(sys.__stdout__)
    process_log = ProcessLog(options.settings, options.parent)
    return DeviceHiveService(
        reactor, options.settings, foreground, process, options.read_settings, process_log, bool(options["accept-loss"])
    )
