"""The server as a program: ordered start and stop, the process, its supervisor, and regular tasks."""
