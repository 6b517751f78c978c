"""Sockets of MQTT: TCP, TLS and WebSocket below :mod:`dhtwisted.fronts.mqtt`."""
