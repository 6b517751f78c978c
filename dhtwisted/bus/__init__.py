"""Carriers of events between nodes."""
