"""What authors of providers build with. A provider may rely on these packages; everything else may change without notice:

- ``dhtwisted.interfaces``: what a provider implements.
- ``dhtwisted.model``: the data that it gets and returns.
- ``dhtwisted.errors``: the errors that it raises.
- ``dhtwisted.testing``: the suites that prove it.
- ``dhtwisted.providers.jwt``: tokens, password hashes and signing keys of the server's own auth provider.
- ``dhtwisted.kit``: the modules below.

To declare a provider: ``provider``; ``reactor``, the type of the reactor that it gets; ``examination``, findings for ``devicehive doctor``.

To write:

- ``batching``: one commit for many callers.
- ``worker``: a thread for a driver that blocks.
- ``deadline``: a time limit for many short waits.
- ``server_time``: times that never go back.
- ``schema_scripts``: numbered scripts that create and upgrade a schema.
- ``private_files``: files that belong to the server's user.

To keep data in memory:

- ``message_log``: commands and notifications, with every query.
- ``message_index``: the sorted lists of ``message_log``.
- ``entity_tables``: users, devices and other entities, with every query.
- ``entity_transaction``: changes of entities that take effect together.
- ``entity_index``, ``ordered_keys``: what ``entity_tables`` is made of.
- ``slices``: long walks through memory that hold up nobody.
- ``bounded_cache``: a cache with a limit in bytes.

To serve many clients:

- ``waiter``: awaitables that cost less than a Deferred.
- ``fair_queue``: places that clients get in turn.
- ``current_client``: the client for which the server works now.
- ``statistics``: what ``/metrics`` shows of a storage.

To read what people write: ``text_files``, ``password_records``.

The kit imports nothing else of the server but ``interfaces``, ``model`` and ``errors``.
"""
