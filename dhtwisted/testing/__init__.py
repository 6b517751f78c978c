"""For tests, ours and strangers': contract suites for providers, a server in memory, and a client of it."""
