"""Models and the release metadata that vouches for them."""

import re
from typing import Annotated

from fastapi import APIRouter, File, Form, HTTPException, Path, Response, UploadFile

from fleet_server.api.access import Guarded, ReaderOrTrainer, Trainer
from fleet_server.api.context import Context, Served
from fleet_server.api.filters import MAX_NUMBER, Digest, OfDeployment
from fleet_server.api.links import of_first
from fleet_server.api.paging import Cursor, Limit, page
from fleet_server.api.problems import documented
from fleet_server.reading.views import ModelView, Page
from fleet_server.rollout import registration
from fleet_server.training import jobs
from shared.errors import RefusedError
from shared.manifest import Manifest
from shared.releases import MAX_MODEL_BYTES

router = APIRouter(
    prefix="/api/v1",
    tags=["models"],
    responses=documented(400, 401, 403, 413, 422, 503),
    route_class=Guarded,
)

MAX_METADATA_BYTES = 512 * 1024


@router.get(
    "/models",
    responses=of_first(("get_model", "get_model_file", "get_model_lineage"), sha256="sha256"),
)
def list_models(
    context: Served,
    _who: ReaderOrTrainer,
    cursor: Cursor = 0,
    limit: Limit = 100,
    *,
    deployment: OfDeployment = None,
) -> Page[ModelView]:
    """List the registered models."""
    return page(context.queries.models(deployment=deployment, after=cursor, limit=limit), limit)


@router.get("/models/{sha256}", responses=documented(404))
def get_model(sha256: Digest, context: Served, _who: ReaderOrTrainer) -> ModelView:
    """Return one model's entry."""
    return _model(context, sha256)


@router.get(
    "/models/{sha256}/file",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}, **documented(404)},
)
def get_model_file(sha256: Digest, context: Served, _who: ReaderOrTrainer) -> Response:
    """Return a model's bytes."""
    _model(context, sha256)
    return Response(
        context.repository.model(sha256),
        media_type="application/octet-stream",
        headers={"ETag": f'"{sha256}"'},
    )


@router.post("/models", status_code=201, responses=documented(409, 413))
def register_model(
    context: Served,
    _who: Trainer,
    manifest: Annotated[UploadFile, File(description="The manifest as JSON.")],
    model: Annotated[UploadFile, File(description="The .tflite file, at most 16 MiB.")],
    role_metadata: Annotated[
        UploadFile, File(description="The worker's next release metadata, signed.")
    ],
    job: Annotated[int, Form(ge=1, le=MAX_NUMBER)],
) -> ModelView:
    """Register the model that a training job made; the worker's own role vouches for it."""
    described = Manifest.from_json(_read(manifest, MAX_METADATA_BYTES))
    role = _role(context, job, described)
    release = context.repository.accept(
        role=role,
        role_metadata=_read(role_metadata, MAX_METADATA_BYTES),
        model=_read(model, MAX_MODEL_BYTES),
    )
    if release.manifest != described:
        raise RefusedError("the manifest is not the one that was signed")
    with context.database.write() as connection:
        registration.register(connection, release.manifest, utc_us=context.clock.utc_us())
    return _model(context, described.sha256)


@router.get(
    "/releases/{name}.json",
    response_class=Response,
    responses={200: {"content": {"application/json": {}}}, **documented(404)},
)
def get_release_metadata(
    name: Annotated[str, Path(pattern=r"^[A-Za-z0-9_.-]{1,80}$", examples=["trainer-1"])],
    context: Served,
    _who: ReaderOrTrainer,
) -> Response:
    """Return a role's metadata file that is in force, or one version of it by `2.trainer-1`."""
    files = context.repository.metadata_files()
    pattern = re.compile(rf"(\d+\.)?{re.escape(name)}\.json")
    found = sorted(filter(pattern.fullmatch, files), key=_version)
    if not found:
        raise HTTPException(404, f"no metadata is called {name}.json")
    return Response(files[found[-1]], media_type="application/json")


def _version(file: str) -> int:
    number = file.partition(".")[0]
    return int(number) if number.isdecimal() else 0


def _role(context: Context, job: int, manifest: Manifest) -> str:
    """Return the release role of the worker that holds `job`.

    Raises:
        JobError: the job is not running, or was promised another release.
    """
    with context.database.read() as connection:
        row = jobs.of_release(connection, job, manifest.sha256)
    if (row.deployment, row.release_seq) != (manifest.deployment, manifest.release_seq):
        raise jobs.JobError(
            f"training job {job} is for release {row.release_seq} of {row.deployment}, "
            f"not for {manifest.release_seq} of {manifest.deployment}"
        )
    return str(row.worker)


def _read(file: UploadFile, limit_bytes: int) -> bytes:
    data = file.file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise HTTPException(413, f"{file.filename}: more than {limit_bytes} bytes")
    return data


def _model(context: Context, sha256: str) -> ModelView:
    found = context.queries.models(sha256=sha256)
    if not found:
        raise HTTPException(404, f"no model {sha256} is registered")
    return found[0]
