"""The description of the API, made from the action table: the OpenAPI document, and the texts of docs/reference."""

from dhtwisted.reference.document import openapi

__all__ = ["openapi"]
