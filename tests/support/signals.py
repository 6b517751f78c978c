"""Processes that tests start have the default answer to every signal, however the tests themselves were started.

``nohup`` has SIGHUP ignored, a shell without job control has SIGINT ignored for what it runs in the background, and a program may be
started with signals that are blocked. All of that is inherited by programs, and a command that is to be ended by Ctrl-C would go on for
ever. A handler is not inherited: so the tests go on to ignore what they were told to, and what they start does not.
"""

import signal

_PYTHONS_OWN = {signal.SIGPIPE, signal.SIGXFSZ}
"""Every Python ignores these, and :mod:`subprocess` gives them back to what it starts."""


def pytest_configure():
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals() - _PYTHONS_OWN:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _ignore)


def _ignore(_number, _frame):
    pass
