"""MQTT without its sockets: sessions, topics, access rules, and the topics of DeviceHive."""
