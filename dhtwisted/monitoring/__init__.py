"""Health and metrics for the operator, on endpoints of their own."""
