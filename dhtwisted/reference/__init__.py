"""The contract of the API as others read it, made from the action table: the OpenAPI document, and what pages are written from."""

from dhtwisted.reference.document import openapi

__all__ = ["openapi"]
