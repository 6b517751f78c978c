"""How to declare a provider: plain data and one function."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.plugin import IPlugin
from zope.interface import implementer

from dhtwisted.interfaces import ICheckableProvider, IFileProvider, IProvider, ProviderContext


@implementer(IPlugin, IProvider)
@dataclass(frozen=True)
class Provider:
    """An :class:`~dhtwisted.interfaces.IProvider` that can stand in a drop-in or behind an entry point.

    :ivar argument_form: as in the interface; in square brackets when it may be left out.
    :ivar build: called as ``build(argument, context)`` by :meth:`open`; imports heavy modules itself.
    """

    role: str
    name: str
    description: str
    argument_form: str
    build: Callable[[str, ProviderContext], Any]

    def open(self, argument, context):
        """Build the provider; see :meth:`dhtwisted.interfaces.IProvider.open`."""
        return self.build(argument, context)


@implementer(ICheckableProvider)
@dataclass(frozen=True)
class CheckableProvider(Provider):
    """An :class:`~dhtwisted.interfaces.ICheckableProvider`, declared in the same way.

    :ivar look: called as ``look(argument, context)`` by :meth:`check`.
    """

    look: Callable[[str, ProviderContext], Any]

    def check(self, argument, context):
        """Say what is wrong; see :meth:`dhtwisted.interfaces.ICheckableProvider.check`."""
        self.look(argument, context)


@implementer(IFileProvider)
@dataclass(frozen=True)
class FileProvider(CheckableProvider):
    """An :class:`~dhtwisted.interfaces.IFileProvider` whose argument is the path of the data file."""

    def data_file(self, argument: str) -> str:
        """Say where the data are; see :meth:`dhtwisted.interfaces.IFileProvider.data_file`."""
        return os.path.realpath(argument)
