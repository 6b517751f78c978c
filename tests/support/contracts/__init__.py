"""Providers that break their contract, and what runs the suites of ``dhtwisted.testing`` on them."""
