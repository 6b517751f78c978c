"""The log of the process: one event is one line."""
