"""``python -m dhtwisted`` is the command ``devicehive``."""

from dhtwisted.cli.main import main

main()
