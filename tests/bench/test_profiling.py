"""What py-spy saw, by layer."""

import pytest

from bench.profiling import LAYERS, OTHER, layer_of, shares, table


@pytest.mark.parametrize(
    ("frame", "layer"),
    [
        ("doPoll (twisted/internet/epollreactor.py:215)", 0),
        ("split_text_frames (dhtwisted/transports/websocket/frames.py:60)", 1),
        ("FrameWriter.flush (dhtwisted/transports/websocket/writing.py:104)", 2),
        ("Session.receive (dhtwisted/fronts/session.py)", 3),
        ("Batch.reserve (dhtwisted/core/batches.py:127)", 3),
        ("reply (dhtwisted/wire/envelope.py:129)", 4),
        ("check_name (dhtwisted/core/rules.py:158)", 3),
        ("notification_insert (dhtwisted/actions/notification.py:65)", 5),
        ("append (dhtwisted/providers/memory.py:72)", 6),
        ("Broker.deliver (dhtwisted/core/broker.py:192)", 7),
        ("event_body (dhtwisted/wire/events.py:206)", 8),
    ],
)
def test_functions_belong_to_layers(frame, layer):
    assert layer_of(frame) == LAYERS[layer][0]


@pytest.mark.parametrize("frame", ["processData (autobahn/websocket/protocol.py:9)", "nothing known"])
def test_what_belongs_to_none_is_shown_too(frame):
    assert layer_of(frame) == OTHER


def test_the_innermost_function_counts_and_threads_at_rest_do_not():
    raw = (
        "main (a.py);doPoll (twisted/internet/epollreactor.py:215) 30\n"
        "main (a.py);doPoll (twisted/internet/epollreactor.py:215);reply (dhtwisted/wire/envelope.py:129) 10\n"
        "work (twisted/_threads/_threadworker.py:74);wait (threading.py:295) 1000\n"
    )
    assert shares(raw) == {LAYERS[0][0]: 0.75, LAYERS[4][0]: 0.25}


def test_the_table_gives_time_to_each_layer():
    lines = list(table({"this": (20.0, {LAYERS[0][0]: 0.75, OTHER: 0.25}), "that": (2.0, {LAYERS[0][0]: 1.0})}))
    assert lines[0] == "| us of processor time | this | that |"
    assert lines[2] == f"| {LAYERS[0][0]} | 15.00 | 2.00 |"
    assert lines[-2] == f"| {OTHER} | 5.00 |  |"
    assert lines[-1] == "| **all** | **20.00** | **2.00** |"
