"""Reads the text of an .h5ad file as `h5ad` does, in a process of its own: python h5ad_probe.py FILE BYTES SECONDS.

Text of any length lies elsewhere in the file. Where its bytes are damaged, they can name any length, or lead the HDF5
library in a circle: then this process ends by its limits, and with a status that is not 0.
"""

import contextlib
import sys
from pathlib import Path
from typing import Any

STATM = Path("/proc/self/statm")  # memory in pages, the address space first


def main() -> None:
    """Reads attributes and columns of text."""
    import h5py

    path, n_bytes, n_seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    _limit(n_bytes, n_seconds)
    with h5py.File(path, "r") as file:
        for name in ("X", "obs", "var"):
            if isinstance(file.get(name, getlink=True), h5py.HardLink):
                node = file[name]
                _read(name, node)
                if isinstance(node, h5py.Group):
                    node.visititems(_read)  # which follows no links


def _limit(n_bytes: int, n_seconds: int) -> None:
    """Lets this process take so many bytes more, and seconds of a processor, where the system can do that."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limits = [(resource.RLIMIT_CPU, n_seconds)]
    if STATM.exists():
        limits.append((resource.RLIMIT_AS, int(STATM.read_text().split()[0]) * resource.getpagesize() + n_bytes))
    for kind, limit in limits:
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _read(_: str, node: Any) -> None:
    import h5py

    with contextlib.suppress(TypeError):  # attributes of kinds that h5py does not know, and `h5ad` does not read
        dict(node.attrs)
    if isinstance(node, h5py.Dataset) and not node.external and not node.is_virtual:
        text = h5py.check_string_dtype(node.dtype)
        if text is not None and text.length is None:
            node[()]


if __name__ == "__main__":
    main()
