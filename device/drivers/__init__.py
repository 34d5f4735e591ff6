"""The only importers of vendors' libraries: camera, range sensor, GPIO, TFLite runtime."""
