"""Stands for a verb whose extra is not installed; only ever loaded by its name."""

from importlib import import_module

verb = import_module("no_such_library")
