"""What ``twistd`` and the provider lookup find: the service and the built-in providers. Imported often, so nothing heavy."""

from twisted.application.service import ServiceMaker

from dhtwisted.providers.builtin import file, jwt, local, memory, postgres, postgres_bus

__all__ = ["devicehive", "file", "jwt", "local", "memory", "postgres", "postgres_bus"]

devicehive = ServiceMaker("DeviceHive server", "dhtwisted.tap", "DeviceHive-compatible messaging server", "devicehive")
