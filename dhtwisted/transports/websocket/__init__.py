"""WebSocket on the port of the server. Only here is Autobahn imported."""
