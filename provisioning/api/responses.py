"""The responses that many operations share, in the OpenAPI document."""

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]
METHODS = ("get", "head", "post", "put", "patch", "delete")
# For each status: the name of the component, and what the status means.
SHARED = {
    "400": ("BadRequest", "The request is invalid. Each error has a code and a description."),
    "401": ("Unauthorized", "The credential is missing, invalid, expired or revoked."),
    "403": ("Forbidden", "The credential is valid, but does not permit this request."),
    "404": ("NotFound", "The object does not exist or belongs to another tenant."),
    "405": ("MethodNotAllowed", "This path does not support the method."),
    "406": ("NotAcceptable", "The response is not available in the requested media type."),
    "408": ("RequestTimeout", "The request body did not arrive in time."),
    "409": ("Conflict", "The current state of the object does not allow this request."),
    "413": ("ContentTooLarge", "The request body is too large."),
    "415": ("UnsupportedMediaType", "The media type of the request body is not supported."),
    "429": ("TooManyRequests", "Too many requests. `Retry-After` is the time to wait."),
    "503": (
        "ServiceUnavailable",
        "The server cannot answer now, and nothing was stored. Repeat the request after the time"
        " in `Retry-After`.",
    ),
}
HEADERS: dict[str, Schema] = {
    "Retry-After": {
        "description": "Seconds to wait before the next request (RFC 9110 §10.2.3).",
        "schema": {"type": "integer", "minimum": 0},
        "example": 17,
    },
    "ETag": {
        "description": "Version of the content, for `If-None-Match` (RFC 9110 §8.8.3).",
        "schema": {"type": "string"},
        "example": '"9f86d081884c7d65"',
    },
    "Content-Range": {
        "description": "The part that is sent, or the length of the file (RFC 9110 §14.4).",
        "schema": {"type": "string"},
        "example": "bytes 1048576-8388607/8388608",
    },
}
HEADERS_OF_STATUS = {
    "202": ("Retry-After",),
    "206": ("ETag", "Content-Range"),
    "304": ("ETag",),
    "416": ("Content-Range",),
}


def shared_response(status: str) -> Schema:
    """Return a reference to a response of `SHARED`."""
    return {"$ref": f"#/components/responses/{SHARED[status][0]}"}


def operations(document: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield each operation with its method and path, such as `GET /devices`."""
    for path, item in document["paths"].items():
        for method in item.keys() & set(METHODS):
            yield f"{method.upper()} {path}", item[method]


def add_responses(result: Schema, **_: Any) -> Schema:
    """Add the shared responses and the headers of responses. A hook of drf-spectacular."""
    components = result["components"]
    components["headers"] = HEADERS
    components["responses"] = {
        name: _error(status, description) for status, (name, description) in SHARED.items()
    }
    for _name, operation in operations(result):
        responses = operation["responses"]
        for status, response in responses.items():
            headers = HEADERS_OF_STATUS.get(status, ())
            if status == "200" and "304" in responses:
                headers = ("ETag",)
            if headers and "$ref" not in response:
                response["headers"] = _references(*headers)
    return result


def _error(status: str, description: str) -> Schema:
    schema = {"$ref": "#/components/schemas/ErrorResponse"}
    response: Schema = {
        "description": description,
        "content": {"application/json": {"schema": schema}},
    }
    if status in ("429", "503"):
        response["headers"] = _references("Retry-After")
    return response


def _references(*names: str) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
