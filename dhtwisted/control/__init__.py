"""Commands of the shell, and the socket by which a running server does them (docs/operation-users.md).

A command is one class: what it is told, and ``run``. The shell connects to the server that has the data (:mod:`.client`), which runs the
command on what it has open (:mod:`.server`). Without a server, the same class runs on storages that the shell opens itself (:mod:`.shell`).
"""
