"""How to declare a provider: plain data and one function."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.plugin import IPlugin
from zope.interface import implementer

from dhtwisted.interfaces import CheckContext, ICheckableProvider, IExaminableProvider, IFileProvider, IProvider, ProviderContext
from dhtwisted.model import Examination, Finding


@implementer(IPlugin, IProvider)
@dataclass(frozen=True)
class Provider:
    """An :class:`~dhtwisted.interfaces.IProvider`, for a plugin drop-in or an entry point.

    :ivar role: ``storage``, ``messages``, ``bus`` or ``auth``.
    :ivar name: the text before the colon in the configuration.
    :ivar description: one line for ``--help-providers``.
    :ivar argument_form: what to write after the colon, such as ``PATH``; in square brackets if it is optional.
    :ivar build: called as ``build(argument, context)`` by :meth:`open`. It should import large modules itself.
    """

    role: str
    name: str
    description: str
    argument_form: str
    build: Callable[[str, ProviderContext], Any]

    def open(self, argument: str, context: ProviderContext) -> Any:
        """Build the provider; see :meth:`dhtwisted.interfaces.IProvider.open`."""
        return self.build(argument, context)


@implementer(ICheckableProvider)
@dataclass(frozen=True)
class CheckableProvider(Provider):
    """An :class:`~dhtwisted.interfaces.ICheckableProvider`, declared in the same way.

    :ivar run_check: called as ``run_check(argument, context)`` by :meth:`check`.
    """

    run_check: Callable[[str, CheckContext], Sequence[Finding] | None]

    def check(self, argument: str, context: CheckContext) -> Sequence[Finding] | None:
        """Raise an error if something is wrong; see :meth:`dhtwisted.interfaces.ICheckableProvider.check`."""
        return self.run_check(argument, context)


@implementer(IExaminableProvider)
@dataclass(frozen=True)
class ExaminableProvider(CheckableProvider):
    """An :class:`~dhtwisted.interfaces.IExaminableProvider`, declared in the same way.

    :ivar run_examination: called as ``run_examination(argument, context)`` by :meth:`examine`.
    """

    run_examination: Callable[[str, CheckContext], Examination]

    def examine(self, argument: str, context: CheckContext) -> Examination:
        """Look at everything; see :meth:`dhtwisted.interfaces.IExaminableProvider.examine`."""
        return self.run_examination(argument, context)


@implementer(IFileProvider)
@dataclass(frozen=True)
class FileProvider(ExaminableProvider):
    """An :class:`~dhtwisted.interfaces.IFileProvider`, whose argument is the path of the data file. It can be examined too."""

    def data_file(self, argument: str) -> str:
        """Say where the data are; see :meth:`dhtwisted.interfaces.IFileProvider.data_file`."""
        return os.path.realpath(argument)
