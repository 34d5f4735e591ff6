"""OpenAPI links: which operation takes what another one has answered.

They are documentation for people and programs, and the paths on which the tests walk from operation
to operation.
"""

from typing import Any

Answers = dict[int | str, dict[str, Any]]


def leads_to(status: int, links: dict[str, dict[str, str]]) -> Answers:
    """Return the OpenAPI entry of an answer whose fields are parameters of other operations.

    `links` holds, by the name of an operation, which field of the body each parameter is.
    """
    return {
        status: {
            "links": {
                operation: {
                    "operationId": operation,
                    "parameters": {
                        name: f"$response.body#/{field}" for name, field in parameters.items()
                    },
                }
                for operation, parameters in links.items()
            }
        }
    }


def of_first(operations: tuple[str, ...], **parameters: str) -> Answers:
    """Return the entry of a list whose items' fields are `parameters` of each of `operations`."""
    fields = {name: f"items/0/{field}" for name, field in parameters.items()}
    return leads_to(200, dict.fromkeys(operations, fields))


def of_made(operations: tuple[str, ...], *, status: int = 201, **parameters: str) -> Answers:
    """Return the entry of something made whose fields are `parameters` of each of `operations`."""
    return leads_to(status, dict.fromkeys(operations, parameters))
