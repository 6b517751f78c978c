"""The storages, buses and auth providers that come with the server, a folder for each engine."""
