"""Events that are delivered together reach everybody as if they were delivered one by one."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dhtwisted.core.event_kinds import DEVICE_UPDATE, EVENT_KINDS
from dhtwisted.testing.server import START
from dhtwisted.wire.timestamps import format_timestamp
from tests.support.delivery_play import DEVICES, USERS, Hive

LONG_AGO = format_timestamp(int(START * 1000) - 1000)

some = st.integers(0, 3)
users = st.sampled_from(["administrator", *USERS])
names = st.sampled_from(["on", "off", DEVICE_UPDATE])
devices = st.sampled_from(sorted(DEVICES))
ids = st.lists(st.integers(1, 2), min_size=1, max_size=2, unique=True)
filters = st.fixed_dictionaries(
    {},
    optional={
        "deviceId": devices,
        "deviceIds": st.lists(devices, min_size=1, max_size=3, unique=True),
        "networkIds": ids,
        "deviceTypeIds": ids,
        "names": st.lists(names, min_size=1, max_size=2, unique=True),
        "timestamp": st.just(LONG_AGO),
        "returnUpdatedCommands": st.booleans(),
    },
)
sizes = st.integers(0, 60) | st.sampled_from([500, 900, 40_000])
events = st.lists(st.tuples(st.sampled_from(list(EVENT_KINDS)), devices, names, sizes), max_size=12)
steps = st.one_of(
    st.tuples(st.just("publish"), events),
    st.tuples(st.just("subscribe"), some, st.sampled_from(["notification/subscribe", "command/subscribe"]), filters),
    st.tuples(st.just("subscribe"), some, st.sampled_from(["notification/unsubscribe", "command/unsubscribe"]), st.just({})),
    st.tuples(st.just("poll"), users, st.sampled_from(["/device/notification/poll", "/device/command/poll?networkIds=1"])),
    st.tuples(st.just("room"), some, st.lists(st.integers(0, 2000) | st.just(0), min_size=1, max_size=20)),
    st.tuples(st.just("break"), some),
    st.tuples(st.just("forget_devices")),
    st.tuples(st.just("rights"), st.sampled_from(list(USERS)), ids),
    st.tuples(st.just("trace"), st.booleans()),
    st.tuples(st.just("delay")),
    st.tuples(st.just("release"), some),
    st.tuples(st.just("prompt")),
    st.tuples(st.just("turn"), st.sampled_from([0.0, 0.01, 2.0])),
)
beginnings = st.tuples(
    st.lists(st.tuples(st.just("connect"), users), min_size=1, max_size=4),
    st.lists(st.tuples(st.just("subscribe"), some, st.sampled_from(["notification/subscribe", "command/subscribe"]), filters), max_size=8),
)


@given(beginnings, st.lists(steps, max_size=15))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=1500)
def test_together_is_the_same_as_one_by_one(reactor, beginning, steps):
    """Whatever sorts of subscriptions there are, with replays under way, clients that do not read, and connections that break."""
    together, one_by_one = (Hive(reactor, together) for together in (True, False))
    for step in (*beginning[0], *beginning[1], *steps, ("prompt",), ("turn", 0.01), ("turn", 61.0)):
        together.step(*step)
        one_by_one.step(*step)
        assert together.state() == one_by_one.state(), step
