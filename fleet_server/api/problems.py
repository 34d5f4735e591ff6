"""Errors as `application/problem+json` (RFC 9457).

Laws:
- every error of the API has this one shape, those of the framework included;
- the text says what is wrong and what to do, and holds no secret and no traceback.
"""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.routing import Match

from fleet_server.training.jobs import JobError, MissingJobError
from shared.errors import RefusedError, RetryLaterError, UsageError

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

_METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]

_TITLES = {
    400: "Malformed request",
    401: "No valid token",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Too large",
    422: "Refused",
    500: "A bug of the server",
    503: "Try again later",
}


class Problem(BaseModel):
    """An error."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"type": "about:blank", "title": "Refused", "status": 422, "detail": "no such car"}
            ]
        }
    )

    type: str = "about:blank"
    title: str
    status: int
    detail: str


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI entry for the errors that a route may answer."""
    return {
        status: {"description": _TITLES[status], "content": {MEDIA_TYPE: {"schema": _schema()}}}
        for status in statuses
    }


def answer(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return an error answer."""
    problem = Problem(title=_TITLES.get(status, "Error"), status=status, detail=detail)
    return JSONResponse(
        problem.model_dump(), status_code=status, media_type=MEDIA_TYPE, headers=headers
    )


def install(app: FastAPI) -> None:
    """Answer every error of `app` as a problem."""

    @app.exception_handler(HTTPException)
    def http_error(_request: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return answer(422, f"{where}: {first['msg']}"[:300])

    @app.exception_handler(MissingJobError)
    def missing(_request: Request, error: MissingJobError) -> JSONResponse:
        return answer(404, str(error)[:300])

    @app.exception_handler(JobError)
    def conflict(_request: Request, error: JobError) -> JSONResponse:
        return answer(409, str(error)[:300])

    @app.exception_handler(RefusedError)
    def refused(_request: Request, error: RefusedError) -> JSONResponse:
        return answer(422, str(error)[:300])

    @app.exception_handler(RetryLaterError)
    def later(_request: Request, error: RetryLaterError) -> JSONResponse:
        logger.warning("api_retry_later reason=%r", str(error))
        return answer(503, str(error)[:300], {"Retry-After": "1"})

    @app.exception_handler(Exception)
    def bug(_request: Request, _error: Exception) -> JSONResponse:
        # The framework raises it again once this is sent, and the web server logs it.
        return answer(500, "the server has a bug here; its log says more")

    @app.exception_handler(UsageError)
    def unset(_request: Request, error: UsageError) -> JSONResponse:
        # A person has to put something right on the server before this can succeed.
        logger.error("api_not_set_up reason=%r", str(error))
        return answer(503, str(error)[:300])


def close(app: FastAPI, prefix: str) -> None:
    """Answer, as a problem, whatever under `prefix` no route added so far answers."""
    known = list(app.router.routes)

    async def unknown(request: Request) -> JSONResponse:
        scope = request.scope
        allowed = ", ".join(
            method
            for method in _METHODS
            if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in known)
        )
        if not allowed:
            return answer(404, f"there is no {request.url.path}; /docs lists what there is")
        detail = f"{request.method} is not for {request.url.path}, {allowed} is"
        return answer(405, detail, {"Allow": allowed})

    app.add_route(prefix + "{rest:path}", unknown, methods=_METHODS, include_in_schema=False)


def _schema() -> dict[str, Any]:
    return Problem.model_json_schema()
