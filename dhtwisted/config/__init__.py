"""The configuration: each option is declared once, and read from a file, the environment and the command line."""
