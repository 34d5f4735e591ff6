"""What the network's tensors are called; the exported file and its manifest say so too."""

from typing import Final

PICTURE: Final = "picture"
VALUE: Final = "value"
LOG_SIGMA: Final = "log_sigma"
