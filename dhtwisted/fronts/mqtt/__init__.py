"""The MQTT front: connections, sessions and plain topics, without I/O.

What is where, from the outside in:

* A transport makes a :class:`~dhtwisted.fronts.mqtt.connection.MqttConnection` for each network connection, is its
  :class:`~dhtwisted.fronts.mqtt.interfaces.IMqttOutput`, and hands it the packets of each read together.
* The connection checks the rules of the protocol and answers. ``connecting.py`` has CONNECT, ``publishing.py`` the publishes that come in,
  ``subscribing.py`` SUBSCRIBE and UNSUBSCRIBE, ``sending.py`` what goes to the client, ``wills.py`` wills.
* A :class:`~dhtwisted.fronts.mqtt.session.ClientSession` is what may outlive a connection: filters, exchanges under way in both directions
  (``in_flight.py``), and what waits for the client.
* The :class:`~dhtwisted.fronts.mqtt.broker.MqttBroker` has all sessions of a server, and what they share: routing of plain topics, retained
  messages, timers and counters.
* Topics below ``dh/`` and mapped topics belong to an :class:`~dhtwisted.fronts.mqtt.interfaces.IDeviceTopics`. What a client publishes
  below ``dh/`` goes there and nowhere else: the plain router never sees it.

Acknowledged means stored: whatever a message leaves behind (what waits for sessions that persist, a retained message, the packet id of an
exchange with QoS 2, a notification) is in the storage before PUBACK or PUBREC leaves. A connection has one thing under way at a time. What
arrives meanwhile waits, and its publishes become one batch. So messages and acknowledgements keep their order ([MQTT-4.6.0]), and a slow
storage gets few large batches. Nothing is stored for a message that no persistent session wants; then nothing waits either.
"""
