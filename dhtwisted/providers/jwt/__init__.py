"""Users of the storage, their passwords, and JSON Web Tokens: ``jwt:``."""
