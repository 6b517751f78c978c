"""What the person who starts the server, or runs a command of the shell, reads: one line each."""


class ConfigurationError(Exception):
    """The server cannot start as configured; the text is one line that names the place, the reason and the cure."""


class CommandError(Exception):
    """A command of the shell cannot be done; the text is one line that says why, and what to do."""


class TransferError(CommandError):
    """An export or import cannot be done, or not be finished; the text is one line that names the place and the reason."""


class AccountError(CommandError):
    """What was asked for a user or his tokens from the shell cannot be done; the text is one line that says why."""


class ProviderError(ConfigurationError):
    """A provider string names something unknown, broken, or found twice."""
