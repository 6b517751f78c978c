"""The benchmark: what this server does on this machine, beside what others do: ``python -m bench``. It is no part of the package."""
