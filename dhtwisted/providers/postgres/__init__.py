"""PostgreSQL: the storage ``postgres:DSN``, and the bus of several servers on one database."""
