"""A real PostgreSQL for tests: servers of their own, which leave nothing behind, and empty databases."""
