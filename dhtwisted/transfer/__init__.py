"""Everything that is kept, out of one storage into a file, and out of the file into another storage (docs/moving-data.md)."""
