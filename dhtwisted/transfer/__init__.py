"""Export of all data of a storage to a file, and import of that file into another storage (docs/moving-data.md)."""
