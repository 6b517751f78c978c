"""The control socket, in this process."""
