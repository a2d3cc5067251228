"""The description of /v1, made from the contract: models give the schemas, the table of calls the paths.

Source: OpenAPI 3.1.
"""

from importlib.metadata import version
from typing import Any

from pydantic.json_schema import models_json_schema

from automq_broker.contract import admin

_SCHEMAS = "#/components/schemas/"
_PROBLEMS = {
    "400": "The question is not understood, or cannot be granted as it is.",
    "401": "The token is missing or wrong.",
    "409": "The state is another one than the question expects: read it again.",
    "503": "Not now; the same question may be asked again after Retry-After seconds.",
}
_PROBLEMS_OF_CHANGES = {
    "403": "No token is configured, so nothing can be changed.",
    "404": "No broker has this id.",
}


def description() -> dict[str, Any]:
    """The whole document; the same for every broker of a version."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "AutoMQ admin API",
            "version": version("automq"),
            "description": (admin.__doc__ or "").strip(),
        },
        "security": [{"token": []}],
        "paths": {call.path: {call.method.lower(): _operation(call)} for call in admin.CALLS},
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _schemas() -> dict[str, Any]:
    models = {call.answer for call in admin.CALLS} | {call.question for call in admin.CALLS if call.question}
    ordered = sorted({*models, admin.Problem}, key=lambda model: model.__name__)
    _, definitions = models_json_schema(
        [(model, "validation" if issubclass(model, admin.Question) else "serialization") for model in ordered],
        ref_template=_SCHEMAS + "{model}",
    )
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas


def _operation(call: admin.Call) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": call.name.replace("-", "_"),
        "summary": call.meaning,
        "responses": {"200": _response(call.answer.__doc__ or "", call.answer.__name__, "application/json")},
    }
    problems = _PROBLEMS if call.question is None else {**_PROBLEMS, **_PROBLEMS_OF_CHANGES}
    for status, meaning in problems.items():
        operation["responses"][status] = _response(meaning, "Problem", admin.PROBLEM_TYPE)
    if call.query:
        operation["parameters"] = [
            {"name": name, "in": "query", "required": False, "schema": schema} for name, schema in call.query.items()
        ]
    if call.question is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": _SCHEMAS + call.question.__name__}}},
        }
    return operation


def _response(meaning: str, model: str, media_type: str) -> dict[str, Any]:
    return {"description": meaning, "content": {media_type: {"schema": {"$ref": _SCHEMAS + model}}}}


__all__ = ["description"]
