"""The server without a network and without the format of a transport: identity, rights, subscriptions, messages, limits."""
