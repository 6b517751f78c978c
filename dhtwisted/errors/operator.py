"""Errors of the person who starts the server, or runs a command of the shell. Each text is one line."""


class ConfigurationError(Exception):
    """The server cannot start as configured. The text says where, why, and what to do."""


class CommandError(Exception):
    """A command of the shell is impossible. The text says why, and what to do."""


class TransferError(CommandError):
    """An export or import is impossible, or cannot be finished. The text says where and why."""


class AccountError(CommandError):
    """A command of the shell for a user or their tokens is impossible. The text says why."""


class ProviderError(ConfigurationError):
    """A provider string names an unknown or broken provider, or one that is declared twice."""
