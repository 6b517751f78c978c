"""The generator of docs/reference."""
