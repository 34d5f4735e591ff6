"""What a process costs while it runs, as the kernel tells it (Linux, proc(5))."""

from pathlib import Path


def memory_mib(pid: int, *, peak: bool = False) -> float:
    """Return the process's resident memory now, or its `peak`; 0 once it is gone."""
    name = "VmHWM" if peak else "VmRSS"
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    except OSError:
        return 0.0
    sizes = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(sizes[0]) / 1024 if sizes else 0.0


def handles(pid: int) -> int:
    """Return how many files and sockets the process holds open; 0 once it is gone."""
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return 0
