"""HTTP on the port of the server."""
