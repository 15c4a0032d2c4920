"""The API's own description, by OpenAPI 3.1, served at ``/api/moonlight/openapi.json``.

Paths are written here by hand; what a session is made of is read off ``Session``, so that the two
cannot differ. tests/integration/test_openapi.py holds it against the routes and the answers.
"""

from moonlight_http.description.document import Description, describe

__all__ = ["Description", "describe"]
