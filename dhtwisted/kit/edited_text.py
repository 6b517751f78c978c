"""Text of files that people write: UTF-8, as their editors leave it.

Editors on Windows put a byte order mark in front of UTF-8, or write UTF-16, which they call Unicode. The mark is no part of the text. What
is in UTF-16 is refused with a word that says so: it is not worth a guess.
"""

import codecs

MARK = codecs.BOM_UTF8
UTF_16 = "is in UTF-16, which some editors call Unicode; save it as UTF-8"


def is_utf_16(data):
    """Whether bytes are a text in UTF-16, mostly of ASCII: every other byte is 0, and no more. A key is not, nor a program's file."""
    start = data[:64]
    fewer, more = sorted((start[0::2].count(0), start[1::2].count(0)))
    return fewer == 0 and more > len(start) // 4


def without_mark(data):
    """The bytes of a text, without the byte order mark.

    :raises ValueError: it is in UTF-16; the text of the error goes on after the name of the file.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or is_utf_16(data):
        raise ValueError(UTF_16)
    return data.removeprefix(MARK)


def decoded(data):
    """The text, without the byte order mark.

    :raises ValueError: it is not in UTF-8; the text of the error goes on after the name of the file.
    """
    data = without_mark(data)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"is not text in UTF-8 (line {line}); save it as UTF-8") from error
