"""A DeviceHive-compatible messaging server on Twisted and Autobahn, with pluggable storage."""

__version__ = "0.1.0"
