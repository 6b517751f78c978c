"""Packets as a client decodes them: what only a server sends."""

from __future__ import annotations

from dhtwisted.wire.mqtt.bodies import READERS, Reader
from dhtwisted.wire.mqtt.body import Body
from dhtwisted.wire.mqtt.decoding import PacketDecoder
from dhtwisted.wire.mqtt.packets import V5, Auth, Connack, Disconnect, Packet, Pingresp, Properties, Suback, Unsuback
from dhtwisted.wire.mqtt.properties import read_properties


def _properties(body: Body, packet: str, version: int) -> Properties | None:
    return read_properties(body, packet) if version == V5 else None


def _connack(body: Body, version: int) -> Packet:
    present, code = body.byte("flags"), body.byte("reason code")
    packet = Connack(code, present == 1, _properties(body, "CONNACK", version))
    body.end()
    return packet


def _codes(body: Body) -> list[int]:
    return list(body.take(body.stop - body.at, "reason codes"))


def _suback(body: Body, version: int) -> Packet:
    packet_id = body.packet_id()
    properties = _properties(body, "SUBACK", version)
    return Suback(packet_id, _codes(body), properties)


def _unsuback(body: Body, version: int) -> Packet:
    packet_id = body.packet_id()
    properties = _properties(body, "UNSUBACK", version)
    return Unsuback(packet_id, _codes(body), properties)


def _pingresp(body: Body, version: int) -> Packet:
    body.end()
    return Pingresp()


def _disconnect(body: Body, version: int) -> Packet:
    reason_code = 0 if body.is_read else body.byte("reason code")
    properties = None if body.is_read else _properties(body, "DISCONNECT", version)
    body.end()
    return Disconnect(reason_code, properties)


def _auth(body: Body, version: int) -> Packet:
    reason_code = 0 if body.is_read else body.byte("reason code")
    properties = None if body.is_read else _properties(body, "AUTH", version)
    body.end()
    return Auth(reason_code, properties)


class ReplyDecoder(PacketDecoder):
    """Decodes the packets of a server. A CONNACK of MQTT 3.x has its return code as ``reason_code``.

    :param version: 3, 4 or 5.
    """

    _from_server = True
    _readers = {kind: READERS[kind] for kind in (4, 5, 6, 7)} | {
        2: Reader("CONNACK", 0, _connack),
        9: Reader("SUBACK", 0, _suback),
        11: Reader("UNSUBACK", 0, _unsuback),
        13: Reader("PINGRESP", 0, _pingresp),
        14: Reader("DISCONNECT", 0, _disconnect),
        15: Reader("AUTH", 0, _auth),
    }

    def __init__(self, version: int) -> None:
        super().__init__()
        self.version = version
