"""An export as a whole: nothing of it can be missing, doubled or out of place without being noticed."""

import gzip
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtwisted.errors import TransferError
from dhtwisted.model import Network
from dhtwisted.testing.storage.base import notification
from dhtwisted.transfer import stream
from dhtwisted.transfer.records import KINDS
from dhtwisted.transfer.stream import Header, Reader, Writer
from tests.support.moving import ENTITIES, MESSAGES, TIME, changed
from tests.support.packages import ROOT

HEADER = b'{"format":"dhtwisted export","version":5,"program":"1.2.3","time":"2026-01-02T03:04:05.678"}\n'
ITEMS = [
    *sorted(ENTITIES[:2], key=lambda e: e.key),
    ENTITIES[2],
    *sorted(ENTITIES[3:5], key=lambda e: e.key),
    *ENTITIES[5:7],
    *ENTITIES[9:],
    *sorted(MESSAGES[:2], key=lambda m: (m.timestamp, m.id)),
    *sorted(MESSAGES[2:], key=lambda m: (m.timestamp, m.id)),
    *ENTITIES[7:9],
]

COUNTS = {
    "network": 2,
    "devicetype": 1,
    "device": 2,
    "configuration": 1,
    "devicetoken": 1,
    "mqttsession": 1,
    "retainedmessage": 1,
    "queuedmessage": 2,
    "receivedpacket": 1,
    "command": 2,
    "notification": 3,
    "user": 2,
}


def written(items=ITEMS):
    file = io.BytesIO()
    writer = Writer(file.write, "1.2.3", TIME)
    for item in items:
        writer.add(item)
    writer.finish()
    return file.getvalue()


def read(data):
    return [entry.item for entry in Reader(io.BytesIO(data))]


def refusal(data):
    with pytest.raises(TransferError) as caught:
        read(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


GOOD = written()


def test_an_export_that_an_editor_on_windows_has_saved():
    assert len(read(b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n"))) == len(ITEMS)
    assert refusal(GOOD.decode().encode("utf-16")) == "line 1 is in UTF-16, which some editors call Unicode; save it as UTF-8"


def test_what_was_written_is_read():
    reader = Reader(io.BytesIO(GOOD))
    assert reader.header == Header(format="dhtwisted export", version=5, program="1.2.3", time=TIME)
    entries = list(reader)
    assert [entry.item for entry in entries] == ITEMS
    assert [entry.number for entry in entries] == list(range(2, len(ITEMS) + 2))
    assert sum(entry.size for entry in entries) == len(b"".join(GOOD.splitlines(keepends=True)[1:-1]))
    assert reader.counts == COUNTS


def test_an_export_is_a_header_objects_and_their_counts():
    first, *_, last = GOOD.splitlines(keepends=True)
    assert first == HEADER
    assert json.loads(last) == {"end": COUNTS}


def test_the_document_shows_an_export():
    (example,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "moving-data.md").read_text(), re.DOTALL)
    reader = Reader(io.BytesIO(example.encode()))
    items = [entry.item for entry in reader]
    assert list(map(type, items)) == list(KINDS)
    file = io.BytesIO()
    writer = Writer(file.write, reader.header.program, reader.header.time)
    for item in items:
        writer.add(item)
    writer.finish()
    assert file.getvalue().decode() == example, "to the letter"


def test_an_export_of_the_first_form_is_read():
    kinds = (b"command", b"configuration", b"device", b"devicetype", b"network", b"notification")
    end = b'{"end":{%b,"user":1}}\n' % b",".join(b'"%b":0' % kind for kind in kinds)
    old = HEADER.replace(b'"version":5', b'"version":1') + b'{"user":{"login":"anna","id":1}}\n' + end
    (item,) = [entry.item for entry in Reader(io.BytesIO(old))]
    assert (item.login, item.valid_from) == ("anna", 0)


def test_the_export_of_nothing():
    assert read(written([])) == []


def test_cut_off_anywhere_is_noticed():
    for length in range(len(GOOD)):
        assert refusal(GOOD[:length]).startswith("line ")


def test_a_line_that_is_missing_doubled_or_moved_is_noticed():
    lines = GOOD.splitlines(keepends=True)
    for n, line in enumerate(lines):
        refusal(b"".join(lines[:n] + lines[n + 1 :]))
        refusal(b"".join([*lines[:n], line, *lines[n:]]))
        if n + 1 < len(lines):
            refusal(b"".join([*lines[:n], lines[n + 1], line, *lines[n + 2 :]]))


@given(st.integers(0, len(GOOD) - 1), st.binary(max_size=3))
def test_whatever_is_changed_is_read_or_refused(place, new):
    try:
        read(GOOD[:place] + new + GOOD[place + 1 :])
    except TransferError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "line 1 is cut off"),
        (b"\n", "line 1 is not the header of an export"),
        (b"SQLite format 3\0" + bytes(range(256)), "line 1 is not the header of an export"),
        (b'{"network":{"id":1,"name":"a"}}\n', "line 1 is not the header of an export"),
        (b'{"format":"something","version":1}\n', "'something'"),
        (b'{"format":"dhtwisted export","version":0}\n', "version 0"),
        (b'{"format":"dhtwisted export","version":6,"program":"9.0","new":[]}\n', "version '9.0' in form 6; this program reads form 5"),
        (b'{"format":"dhtwisted export","version":1}\n', "line 1 is not the header of an export"),
        (HEADER.replace(b"2026", b"\\u001b[2J"), "line 1 is not the header of an export"),
        (HEADER.replace(b".678", b".678\\n"), "line 1 is not the header of an export"),
        (b"\xff\n", "line 1 is not the header of an export"),
        (b"[" * 100_000 + b"\n", "line 1 is not the header of an export"),
        (HEADER, "line 2 is cut off or missing"),
        (GOOD + b"\n", f"line {len(ITEMS) + 3} is after the end"),
        (GOOD + GOOD, f"line {len(ITEMS) + 3} is after the end"),
        (changed(GOOD, b'"home"', b"7"), "line 2 is not valid: Expected `str`, got `int` - at `$.network.name`"),
        (changed(GOOD, b'"home"', b'"\xff"'), "line 2 is not UTF-8"),
        (changed(GOOD, b'"id":3,', b'"id":9,'), "line 3: network 9: appears twice, or is not in the order"),
        (changed(GOOD, b'"devicetype":1', b'"devicetype":2'), "'devicetype': 2"),
        (changed(GOOD, b'"devicetype":1,', b""), f"line {len(ITEMS) + 2} counts"),
        (changed(GOOD, b'"devicetype":1', b'"devicetype":1,"plugin":4'), "'plugin': 4"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(data, words):
    assert words in refusal(data)


def test_users_come_last():
    assert "line 3: network 1: appears twice, or is not in the order" in refusal(written([ENTITIES[6], Network(id=1, name="a")]))


def test_a_line_has_a_bound(monkeypatch):
    monkeypatch.setattr(stream, "LONGEST_LINE", 1000)
    assert refusal(b"x" * 1001) == "line 1 is longer than 1000 bytes: this is not an export"
    fits = notification(id=1, timestamp=1, parameters=b"[" + b" " * 850 + b"]")
    assert read(written([fits])) == [fits]
    with pytest.raises(TransferError, match="notification 2 is too large"):
        written([notification(id=2, timestamp=1, parameters=b"[" + b" " * 900 + b"]")])


def test_a_damaged_compressed_file_is_noticed():
    compressed = gzip.compress(GOOD)
    for damaged in (compressed[:-1], compressed[:-20], compressed[:300] + b"\0\0\0\0" + compressed[304:], b"\x1f\x8b no", GOOD):
        with pytest.raises(TransferError, match=r"line \d+ "):
            list(Reader(gzip.GzipFile(fileobj=io.BytesIO(damaged))))
