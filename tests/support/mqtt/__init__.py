"""MQTT for tests: packets byte by byte, packets that break the standard, packets at random, and a decoder for what a server sends."""
