"""``python -m dhtwisted`` is the command ``devicehive``."""

from dhtwisted.command_line import main

main()
