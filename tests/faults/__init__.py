"""A real server, and what may happen to it: faults of the machine, attacks, and time. See docs/faults.md."""
