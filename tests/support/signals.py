"""Gives the processes that tests start the default handling of every signal, however the tests themselves were started.

``nohup`` ignores SIGHUP. A shell without job control ignores SIGINT for its background commands. A program may also be started with
blocked signals. Programs inherit all of that, and a command that a test ends by Ctrl-C would run for ever. Programs do not inherit
handlers. So each ignored signal gets a handler that does nothing: the tests still ignore it, and the processes that they start do not.
"""

import signal
from types import FrameType

_PYTHONS_OWN = {signal.SIGPIPE, signal.SIGXFSZ}
"""Every Python ignores these, and :mod:`subprocess` restores them in the processes that it starts."""


def pytest_configure() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals() - _PYTHONS_OWN:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _ignore)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    pass
