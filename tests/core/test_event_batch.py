"""Events that are delivered together reach everybody as if they were delivered one by one."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.logger import capturedLogs

from dhtwisted.core.event_kinds import DEVICE_UPDATE, EVENT_KINDS
from dhtwisted.testing.server import START
from dhtwisted.wire.timestamps import format_timestamp
from tests.support.delivery_play import DEVICES, USERS, Hive

LONG_AGO = format_timestamp(int(START * 1000) - 1000)

some = st.integers(0, 2)
users = st.sampled_from(["administrator", "administrator", *USERS])
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
event = st.tuples(st.sampled_from(list(EVENT_KINDS)), devices, names, sizes)
publish = st.tuples(st.just("publish"), st.lists(event, min_size=2, max_size=12))
subscribe = st.tuples(st.just("subscribe"), some, st.sampled_from(["notification/subscribe", "command/subscribe"]), filters)
disturbance = st.one_of(
    subscribe,
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
rounds = st.lists(st.tuples(st.lists(disturbance, max_size=2), publish), min_size=1, max_size=5)
connections = st.lists(st.tuples(st.just("connect"), users), min_size=1, max_size=3)
waiting = st.lists(st.just(("delay",)), max_size=1)
END = [("prompt",), ("turn", 0.01), ("turn", 61.0)]


@given(connections, waiting, st.lists(subscribe, min_size=2, max_size=8), rounds)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_together_is_the_same_as_one_by_one(reactor, connections, waiting, subscriptions, rounds):
    """Whatever sorts of subscriptions there are, with replays under way, clients that do not read, and connections that break."""
    together, one_by_one = (Hive(reactor, together) for together in (True, False))
    steps = [step for disturbances, published in rounds for step in (*disturbances, published)]
    with capturedLogs() as logs:
        for step in (*connections, *waiting, *subscriptions, *steps, *END):
            together.step(*step)
            one_by_one.step(*step)
            assert together.state() == one_by_one.state(), step
    assert not [event for event in logs if "log_failure" in event]
