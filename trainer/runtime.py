"""TensorFlow and MLflow as guests: quiet, on few threads, repeatable, and silent to the outside.

Laws:
- `prepare` runs once, before anything else of this package that needs TensorFlow or MLflow;
- the same seed, data and settings give the same bytes on the same machine, on however many threads:
  these feed the steps, and a step is computed by one of them (sums that two share come out
  otherwise, and no faster);
- nothing phones home and no server is started.
"""

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator

_ENVIRONMENT = {
    # Errors only: TensorFlow otherwise greets every process with a screen of notes about itself.
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "ABSL_MIN_LOG_LEVEL": "3",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # Its job runner holds 1.3 GB and serves nobody here.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_CONFIGURE_LOGGING": "false",
}


def prepare(threads: int, *, notebook: bool = True) -> None:
    """Import TensorFlow and MLflow and set them up; takes seconds, so do it while nothing waits.

    Without `notebook`, MLflow is left alone: a process that only trains has no use for it.

    Raises:
        RuntimeError: TensorFlow was already used in this process with another number of threads.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("absl").setLevel(logging.ERROR)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with quiet():
        if notebook:
            import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 - imported for its cost
        import tensorflow as tf

    tf.get_logger().setLevel(logging.ERROR)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.config.experimental.enable_op_determinism()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back what libraries print and warn of past Python's logging, exceptions excepted.

    TensorFlow's C++ writes to the file descriptors before its own log level holds, and its
    converter prints; MLflow's tables use a loader that SQLAlchemy deprecates. None of it is ours to
    act on.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for stream, original in enumerate(kept, start=1):
            os.dup2(original, stream)
            os.close(original)
        os.close(nowhere)
