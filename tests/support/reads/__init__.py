"""Clients of a whole server whose frames come one in each read, or in reads that are cut anywhere: both must lead to the same."""
