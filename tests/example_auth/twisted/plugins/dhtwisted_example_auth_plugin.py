"""Declares the provider; nothing heavy is imported here."""

from dhtwisted.kit.provider import Provider


def _open(argument, context):
    from dhtwisted_example_auth import open_text_file

    return open_text_file(argument, context)


textfile = Provider("auth", "textfile", "logins from a text file, a line login:record for each", "PATH", _open)
