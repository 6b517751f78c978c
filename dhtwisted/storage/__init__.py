"""The storages that come with the server, and what they are made of."""
