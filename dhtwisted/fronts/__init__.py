"""What a client speaks, without a socket: the session of a WebSocket, and REST."""
