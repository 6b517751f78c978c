"""Commands and notifications in a journal file: the provider, which imports the storage when it is opened."""

from dhtwisted.kit.provider import Provider


def _open(argument, context):
    from dhtwisted_example_storage.journal import JournalStorage

    return JournalStorage(argument, context.reactor)


journal = Provider("messages", "journal", "commands and notifications in a file that only grows", "PATH", _open)
