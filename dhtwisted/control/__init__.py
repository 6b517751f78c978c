"""Commands of the shell as the server executes them, and the control socket through which it receives them (docs/operation-users.md).

A command is one class with its parameters as fields and ``run``. The shell sends it to the server that has the data
(:mod:`dhtwisted.control.server`). If no server runs, the shell opens the data itself and calls the same ``run``
(:mod:`dhtwisted.cli.execution`).
"""
