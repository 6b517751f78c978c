"""The command ``devicehive``: its options, and a class for each command of the shell."""
