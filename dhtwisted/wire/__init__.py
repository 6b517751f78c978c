"""Texts and JSON of the DeviceHive API: times, names, requests, replies, events."""
