"""Text files that people write, as their editors save them.

Editors on Windows put a byte order mark in front of UTF-8, or write UTF-16 and call it Unicode. The mark is removed. UTF-16 is refused with
an error that says so, because the program would have to guess.
"""

from __future__ import annotations

import codecs

BYTE_ORDER_MARK = codecs.BOM_UTF8
UTF_16_ERROR = "is in UTF-16, which some editors call Unicode; save it as UTF-8"


def is_utf_16(data: bytes) -> bool:
    """Whether bytes look like UTF-16 text, mostly of ASCII: every second byte is 0, and only these. A key or a binary file does not."""
    start = data[:64]
    fewer, more = sorted((start[0::2].count(0), start[1::2].count(0)))
    return fewer == 0 and more > len(start) // 4


def without_byte_order_mark(data: bytes) -> bytes:
    """Remove the byte order mark from the bytes of a text.

    :raises ValueError: the text is in UTF-16. The message continues a sentence that begins with the name of the file.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or is_utf_16(data):
        raise ValueError(UTF_16_ERROR)
    return data.removeprefix(BYTE_ORDER_MARK)


def decode_text(data: bytes) -> str:
    """Decode UTF-8, without the byte order mark.

    :raises ValueError: the text is not in UTF-8. The message continues a sentence that begins with the name of the file.
    """
    data = without_byte_order_mark(data)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"is not text in UTF-8 (line {line}); save it as UTF-8") from error
