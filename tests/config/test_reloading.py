"""A changed configuration is taken on as a whole, or not at all."""

from dataclasses import fields

import pytest
from twisted.logger import LogLevel, capturedLogs

from dhtwisted.config.reloading import Reloading, merge
from dhtwisted.config.settings import LimitSettings, ServerSettings, Settings, StorageSettings
from dhtwisted.errors import ConfigurationError

OLD = Settings()
NEW = Settings(
    server=ServerSettings(origins=("https://a.example",), listen=("tcp:1",)),
    limits=LimitSettings(connections=5, json_depth=7),
    storage=StorageSettings(provider="memory:"),
)


class Part:
    """A part of a server that takes on settings, or refuses them."""

    def __init__(self, refuses=False):
        self.settings = None
        self._refuses = refuses

    def reloadable(self, settings):
        if self._refuses:
            raise ConfigurationError("cannot\nbe")

        def take():
            self.settings = settings

        return take


def test_what_cannot_be_taken_on_stays_as_it_was():
    settings, changed, fixed = merge(OLD, NEW)
    assert settings.server == ServerSettings(origins=("https://a.example",))
    assert settings.limits == LimitSettings(connections=5)
    assert settings.storage == OLD.storage
    assert changed == ["server.origins", "limits.connections"]
    assert fixed == ["server.listen", "storage.provider", "limits.json_depth"]


def test_every_part_gets_the_settings_that_hold():
    parts = [Part(), Part()]
    reloading = Reloading(lambda: NEW, OLD)
    reloading.reloadables += [part.reloadable for part in parts]
    with capturedLogs() as logs:
        assert reloading.reload()
    assert parts[0].settings is parts[1].settings is reloading.settings
    assert reloading.settings.limits.connections == 5
    done, restart = logs
    assert done["options"] == "server.origins, limits.connections"
    assert restart["options"] == "server.listen, storage.provider, limits.json_depth"
    assert restart["log_level"] is LogLevel.warn
    with capturedLogs() as logs:
        assert reloading.reload()
    assert [event["options"] for event in logs] == ["no option", "server.listen, storage.provider, limits.json_depth"]


@pytest.mark.parametrize("position", [0, 1, 2])
def test_one_part_that_refuses_is_enough(position):
    parts = [Part(), Part()]
    parts.insert(position, Part(refuses=True))
    reloading = Reloading(lambda: NEW, OLD)
    reloading.reloadables += [part.reloadable for part in parts]
    with capturedLogs() as logs:
        assert not reloading.reload()
    assert [part.settings for part in parts] == [None] * 3
    assert reloading.settings is OLD
    (line,) = logs
    assert line["reason"] == "cannot be"


def test_a_configuration_that_cannot_be_read_changes_nothing():
    def read():
        raise ConfigurationError("limits.connections: is no number")

    reloading = Reloading(read, OLD)
    with capturedLogs() as logs:
        assert not reloading.reload()
    assert logs[0]["reason"] == "limits.connections: is no number"


def test_every_option_says_whether_it_can_be_reloaded():
    flags = {f"{s.name}.{o.name}": o.metadata["reloads"] for s in fields(OLD) for o in fields(getattr(OLD, s.name))}
    assert all(flags[f"tls.{option.name}"] for option in fields(OLD.tls))
    assert not flags["server.listen"]
