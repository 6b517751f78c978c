"""Ways in from the network: WebSocket and HTTP on one port."""
