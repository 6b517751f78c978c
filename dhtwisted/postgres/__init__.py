"""What the Postgres storage and the Postgres bus share: connections that come back by themselves, the schema, the meaning of errors."""
