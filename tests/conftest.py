"""What holds for all tests."""

import gc

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first what takes longest: where tests run side by side, no core idles at the end."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_collection_finish() -> None:
    """Spare the garbage collector what is loaded: looking it through again takes its time."""
    gc.collect()
    gc.freeze()
