"""What is looked at once a second, and what is not."""

from dhtwisted.transports.websocket.upkeep import Upkeep


class Connection:
    """Notes what it is asked."""

    turn = 0

    def __init__(self, upkeep, opened):
        self.opened = opened
        self.asked = []
        upkeep.add(self)

    def check_authenticated(self):
        self.asked.append("authenticated")

    def check_congestion(self, now):
        self.asked.append(f"congested at {now}")

    def check_closing(self, now):
        self.asked.append(f"closing at {now}")

    def quiet(self):
        self.asked.append("quiet")

    def ping(self):
        self.asked.append("ping")


def test_each_connection_is_asked_once_whether_it_has_authenticated():
    upkeep = Upkeep(0, 60)
    early, late = Connection(upkeep, 100.0), Connection(upkeep, 130.0)
    upkeep.tick(160)
    assert (early.asked, late.asked) == ([], [])
    upkeep.tick(161)
    upkeep.tick(190)
    assert (early.asked, late.asked) == (["authenticated"], [])
    upkeep.tick(191)
    upkeep.tick(1000)
    assert (early.asked, late.asked) == (["authenticated"], ["authenticated"])


def test_without_a_limit_nobody_is_asked():
    upkeep = Upkeep(0, 0)
    connection = Connection(upkeep, 0)
    upkeep.tick(10**6)
    assert connection.asked == []


def test_every_connection_is_pinged_once_in_an_interval():
    upkeep = Upkeep(3, 0)
    connections = [Connection(upkeep, opened) for opened in (0.5, 1.5, 2.5, 3.5)]
    for now in range(3):
        upkeep.tick(now)
    assert [connection.asked for connection in connections] == [["ping"]] * 4
    for now in range(6):
        upkeep.tick(now)
    assert [connection.asked for connection in connections] == [["ping"] * 3] * 4


def test_pings_are_spread_over_the_interval():
    upkeep = Upkeep(2, 0)
    connections = [Connection(upkeep, 5.0) for _ in range(10)]
    upkeep.tick(0)
    assert sum(map(len, (connection.asked for connection in connections))) == 5


def test_the_congested_are_asked_while_they_are_and_the_noisy_once():
    upkeep = Upkeep(0, 0)
    connection = Connection(upkeep, 0)
    upkeep.congested.add(connection)
    upkeep.noisy.add(connection)
    upkeep.tick(5)
    upkeep.tick(6)
    upkeep.congested.discard(connection)
    upkeep.tick(7)
    assert connection.asked == ["congested at 5", "quiet", "congested at 6"]


def test_the_closing_are_asked_until_they_are_gone():
    upkeep = Upkeep(0, 0)
    connection = Connection(upkeep, 0)
    upkeep.closing.add(connection)
    upkeep.tick(5)
    upkeep.tick(6)
    assert connection.asked == ["closing at 5", "closing at 6"]


def test_nothing_is_asked_of_one_that_is_gone():
    upkeep = Upkeep(1, 1)
    connection = Connection(upkeep, 0)
    upkeep.congested.add(connection)
    upkeep.noisy.add(connection)
    upkeep.closing.add(connection)
    upkeep.discard(connection)
    upkeep.tick(100)
    assert connection.asked == []


def test_one_that_goes_while_others_are_asked_is_no_matter():
    upkeep = Upkeep(1, 0)
    connections = [Connection(upkeep, 0) for _ in range(3)]
    for connection in connections:
        upkeep.congested.add(connection)
        connection.check_congestion = lambda now: [upkeep.discard(other) for other in connections]
    upkeep.tick(0)
    assert upkeep.congested == set()


def test_other_times_hold_for_those_that_are_open_too():
    upkeep = Upkeep(0, 0)
    connections = [Connection(upkeep, opened) for opened in (1, 2, 3, 4)]
    upkeep.set_times(2, 60, connections)
    for now in range(4):
        upkeep.tick(now)
    assert [connection.asked for connection in connections] == [["ping"] * 2] * 4
    upkeep.set_times(0, 30, connections)
    upkeep.tick(32)
    assert [connection.asked[2:] for connection in connections] == [["authenticated"], [], [], []]
    for connection in connections:
        upkeep.discard(connection)
    upkeep.tick(1000)
    assert connections[-1].asked == ["ping"] * 2
