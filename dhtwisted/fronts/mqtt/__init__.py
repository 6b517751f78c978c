"""The MQTT front: connections, sessions and plain topics, without I/O.

What is where, from the outside in:

* A transport makes a :class:`~dhtwisted.fronts.mqtt.connection.MqttConnection` for each network connection, is its
  :class:`~dhtwisted.fronts.mqtt.interfaces.IMqttOutput`, and hands it the packets of each read together.
* The connection checks the rules of the protocol and answers. ``receiving.py`` has the order of what comes, ``connecting.py`` CONNECT,
  ``publishing.py`` the publishes that come in, ``acknowledging.py`` the acknowledgements, ``subscribing.py`` SUBSCRIBE and UNSUBSCRIBE,
  ``sending.py`` what goes to the client, ``wills.py`` wills.
* A :class:`~dhtwisted.fronts.mqtt.session.ClientSession` is what may outlive a connection: filters, exchanges under way in both directions
  (``in_flight.py``), and what waits for the client.
* The :class:`~dhtwisted.fronts.mqtt.broker.MqttBroker` has all sessions of a server, and what they share: routing of plain topics, retained
  messages, timers and counters.
* Topics below ``dh/`` and mapped topics belong to an :class:`~dhtwisted.fronts.mqtt.interfaces.IDeviceTopics`. What a client publishes
  below ``dh/`` goes there and nowhere else: the plain router never sees it.
* :class:`~dhtwisted.fronts.mqtt.device_topics.DeviceTopics` is that. Each session has a
  :class:`~dhtwisted.fronts.mqtt.device_session.DeviceSession`, whose subscriptions are in ``event_subscriber.py``. ``request_channel.py``
  has requests and ``responses.py`` their answers; ``inserts.py`` stores what is published, as ``event_publishes.py`` reads it;
  ``events.py`` gives events to clients by ``event_filters.py`` and their rights, and ``streams.py`` keeps those with QoS 1 and 2 without a
  hole, out of memory (``waiting_events.py``) where the client is a little behind, and out of the storage (``stored_events.py``) where it
  was slow or away; ``last_values.py`` answers a SUBSCRIBE, and ``gaps.py`` says what was deleted meanwhile.

The other modules, by subject:

* Topics below ``dh/`` and mapped topics: ``event_topics.py`` reads a topic, ``payloads.py`` and ``event_messages.py`` turn payloads into
  JSON and back, ``mappings.py`` has ``[[mqtt.map]]``, ``subscription_rights.py`` what a client may hear, ``refusals.py`` what it is told.
* Plain topics: ``access.py`` has ``[[mqtt.access]]``, ``routing.py`` and ``topic_tree.py`` find who gets a message, ``delivering.py`` and
  ``delivery.py`` bring it, ``sharing.py`` has shared subscriptions, ``retained.py`` and ``retained_tree.py`` retained messages.
* What is stored: ``changes.py`` is what a batch changes, ``committing.py`` stores it, ``stored.py`` has its form, ``restoring.py`` reads it
  after a restart, ``backlog.py`` and ``catching_up.py`` have what waits for a session, ``doubts.py`` what was perhaps stored,
  ``sending_again.py`` what may be sent again, ``shared_sessions.py`` sessions with several nodes.
* For operators: ``counters.py``, ``load_averages.py``, ``system_topics.py`` (``$SYS/``) and ``tracing.py``.
* Tools of the others: ``message.py``, ``timers.py``, ``small_maps.py``.

What old clients of DeviceHive's bridge may not expect: ``subscriptionId`` of events is null, since SUBACK has none, so all get the same
bytes; a client gets one copy of an event, on the private topic only if all of its filters are private; answers and events of subscriptions
by request are not retained; the retain flag, the expiry and No Local mean nothing below ``dh/``, where there are no shared subscriptions.
A response topic of MQTT 5.0 is used if it is one of the client's own: below ``dh/response/``, with its client id behind ``@``.

Acknowledged means stored: whatever a message leaves behind (what waits for sessions that persist, a retained message, the packet id of an
exchange with QoS 2, a notification) is in the storage before PUBACK or PUBREC leaves. A connection has one thing under way at a time. What
arrives meanwhile waits, and its publishes become one batch. So messages and acknowledgements keep their order ([MQTT-4.6.0]), and a slow
storage gets few large batches. Nothing is stored for a message that no persistent session wants; then nothing waits either.
"""
