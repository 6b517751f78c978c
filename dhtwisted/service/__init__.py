"""The server as a program: an ordered start and stop, the process, its supervisor, and what is done regularly."""
