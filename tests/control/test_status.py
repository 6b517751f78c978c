"""The configuration as ``devicehive status`` shows it."""

import json

from dhtwisted.config.mqtt import MqttSettings
from dhtwisted.config.mqtt_tables import ACCESS, MAPPINGS
from dhtwisted.config.settings import AuthSettings, Settings, StorageSettings
from dhtwisted.control.status import masked_settings

RULES = [{"who": "sensors", "publish": ["tele/{login}/#"], "subscribe": []}]
MAPPING = {"topic": "tele/{deviceId}/{name...}", "as": "notification", "create_devices": True, "network_id": 3}


def shown(settings):
    return json.loads(json.dumps(masked_settings(settings)))


def test_all_options_are_shown_and_tables_as_in_the_file():
    found = shown(Settings(mqtt=MqttSettings(access=ACCESS.from_toml(RULES), map=MAPPINGS.from_toml([MAPPING]))))
    assert found["mqtt"]["access"] == RULES
    assert found["mqtt"]["map"] == [MAPPING | {"deviceId": "{deviceId}", "name": "{name...}", "device_type_id": 0}]
    assert found["mqtt"]["receive_maximum"] == 64


def test_secrets_are_masked():
    settings = Settings(auth=AuthSettings(admin_password="swordfish"), storage=StorageSettings(provider="postgres:password=swordfish"))
    assert "swordfish" not in json.dumps(masked_settings(settings))
