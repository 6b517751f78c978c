"""Every error of the server, and the only place that knows a wire code. Import the errors from here.

Four families: the error of a client (:class:`ApiError`), that of an MQTT client which breaks the protocol (:class:`InvalidPacket`), the
error of a provider (:class:`StorageError`, :class:`AuthUnavailable`), and the error of the person who starts the server
(:class:`ConfigurationError`) or runs a command of the shell (:class:`CommandError`). Texts of :class:`ApiError` are constants of the
DeviceHive wire protocol: clients and test suites compare them literally (WebSocket reference, section 2.1).
"""

from dhtwisted.errors.api import *
from dhtwisted.errors.http import *
from dhtwisted.errors.mqtt import *
from dhtwisted.errors.not_found import *
from dhtwisted.errors.operator import *
from dhtwisted.errors.requests import *
from dhtwisted.errors.rights import *
from dhtwisted.errors.storage import *
