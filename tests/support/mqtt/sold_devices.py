"""What devices and programs that are sold send over MQTT 3.1.1, byte by byte and in their order, and the tables that docs/mqtt.md has for
them.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from dhtwisted.config.mqtt_tables import MAPPINGS
from tests.support.mqtt import raw

PAGE = Path(__file__).parents[3] / "docs" / "mqtt.md"
WILL_QOS_1, WILL_RETAIN = 0x08, 0x20
RETAIN = 1


def documented_tables(heading: str) -> tuple[Any, ...]:
    """The mappings of one section of docs/mqtt.md."""
    _, found, section = PAGE.read_text().partition(f"\n### {heading}\n")
    assert found, f"docs/mqtt.md has no section {heading}"
    section = re.split(r"\n##+ ", section)[0]
    tables = [table for block in re.findall(r"```toml\n(.*?)```", section, re.DOTALL) for table in tomllib.loads(block)["mqtt"]["map"]]
    return tuple(MAPPINGS.from_toml(tables))


class Device:
    """One device.

    :ivar greeting: CONNECT. It has the will, and the password that is given.
    """

    def __init__(self, client_id: str, will: tuple[str, bytes], will_flags: int, keep_alive: int = 60) -> None:
        self._client_id = client_id
        self._will = will
        self._flags = 0x80 | 0x40 | 0x04 | 0x02 | will_flags
        self._keep_alive = keep_alive
        self._last_id = 0

    def greeting(self, password: str) -> bytes:
        """CONNECT: a clean session, a will, user name and password."""
        topic, payload = self._will
        texts = self._client_id.encode(), topic.encode(), payload, b"sensors", password.encode()
        head = raw.field(b"MQTT") + bytes((4, self._flags)) + self._keep_alive.to_bytes(2, "big")
        return raw.packet(0x10, head, *map(raw.field, texts))

    def subscribe(self, *filters: str, qos: int = 0) -> list[bytes]:
        """A SUBSCRIBE for each filter."""
        return [raw.packet(0x82, self._next_id(), raw.field(text.encode()), bytes((qos,))) for text in filters]

    def publish(self, topic: str, payload: bytes, flags: int = 0) -> list[bytes]:
        """PUBLISH.

        :param flags: ``RETAIN``, and the QoS times two.
        """
        packet_id = self._next_id() if flags & 0x06 else b""
        return [raw.packet(0x30 | flags, raw.field(topic.encode()), packet_id, payload)]

    def _next_id(self) -> bytes:
        self._last_id += 1
        return self._last_id.to_bytes(2, "big")
