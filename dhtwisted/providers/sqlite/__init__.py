"""Everything in one SQLite file: ``file:PATH``. The process that writes the file imports little, so this module imports nothing."""
