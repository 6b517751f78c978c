"""Commands and notifications in a journal file: the provider, which imports the storage when it is opened."""

import os

from dhtwisted.errors import ConfigurationError
from dhtwisted.kit.provider import FileProvider


def _open(argument, context):
    from dhtwisted_example_storage.journal import JournalStorage

    return JournalStorage(argument, context.reactor)


def _check(argument, context):
    directory = os.path.dirname(os.path.abspath(argument))
    if not os.path.isdir(directory):
        raise ConfigurationError(f"{argument}: there is no directory {directory}; make it, or name another file")


def _examine(argument, context):
    from dhtwisted_example_storage.examination import examine_journal

    return examine_journal(os.path.abspath(argument), context.place)


journal = FileProvider("messages", "journal", "commands and notifications in a file that only grows", "PATH", _open, _check, _examine)
