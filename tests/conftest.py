"""What holds for all tests."""

import gc


def pytest_collection_finish() -> None:
    """Spare the garbage collector what is loaded: looking it through again takes its time."""
    gc.collect()
    gc.freeze()
