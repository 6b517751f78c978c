"""Health and metrics for operators, on separate endpoints."""
