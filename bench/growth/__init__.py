"""What grows with the number of connections and of stored messages: ``python -m bench.growth``."""
