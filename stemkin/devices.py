"""The array library of a task: NumPy, CuPy or torch, chosen by the worker and never by the client.

A kernel asks its argument which library it belongs to (`namespace`) and uses only the array-API
standard, so one code path serves all of them. A task does ``to_device → kernel → to_host``; blocks
enter and leave it as NumPy.

>>> import numpy as np
>>> float(namespace(np.ones(3)).sum(np.ones(3)))
3.0
>>> to_host(to_device(np.arange(3), "cpu")).tolist()
[0, 1, 2]
"""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache
from typing import Any, Literal

import array_api_compat
import numpy as np

from stemkin.extras import MissingExtraError, needed

Device = Literal["auto", "cpu", "cuda", "torch"]
Array = Any
"""An array of any library that follows the array-API standard; shapes and units stand in the
docstrings."""


def namespace(*arrays: Array) -> Any:
    """Return the array-API namespace that arrays share.

    Parameters
    ----------
    arrays
        Of any shape and one library.

    Returns
    -------
    The namespace: ``xp.matmul``, ``xp.concat`` and so on.

    Raises
    ------
    TypeError
        If they belong to different libraries.
    """
    return array_api_compat.array_namespace(*arrays)


def has_gpu() -> bool:
    """Tell whether CuPy is installed and finds a GPU on this worker."""
    try:
        import cupy
    except ImportError:
        return False
    return bool(cupy.cuda.is_available())


def said_of_devices() -> list[str]:
    """Return a sentence for every kind of device that frames can be searched on."""
    said = ["cpu: yes", "cuda: no GPU that CuPy can use"]
    if has_gpu():
        import cupy

        said[1] = f"cuda: {cupy.cuda.runtime.getDeviceCount()} GPUs with CuPy"
    try:
        torch: Any = needed("torch", extra="network", wanted_for='device="torch"')
    except MissingExtraError:
        return [*said, "torch: not installed"]
    place = "the CPU"
    if torch.cuda.is_available():
        place = f"{torch.cuda.device_count()} GPUs"
    return [*said, f"torch: {torch.__version__} on {place}"]


def to_device(block: np.ndarray, device: Device = "auto") -> Array:
    """Move a NumPy block to where this worker computes.

    Parameters
    ----------
    block
        Any NumPy array.
    device
        ``"auto"``: CuPy where the worker has a GPU, else NumPy. ``"cpu"``: NumPy. ``"cuda"``: CuPy.
        ``"torch"``: a torch tensor, on its GPU where there is one.

    Returns
    -------
    The same numbers as an array of that library.

    Raises
    ------
    RuntimeError
        If ``"cuda"`` is asked for on a worker without CuPy or a GPU.
    """
    if device == "torch":
        torch: Any = needed("torch", extra="network", wanted_for='device="torch"')
        place = "cpu"
        if torch.cuda.is_available():
            place = "cuda"
        return torch.as_tensor(block, device=place)
    if device == "cpu" or (device == "auto" and not has_gpu()):
        return block
    if not has_gpu():
        msg = (
            'device="cuda" was asked for, but this worker has no CuPy or no GPU; pip install '
            '"stemkin[gpu]" or use device="auto"'
        )
        raise RuntimeError(msg)
    import cupy

    return cupy.asarray(block)


def to_host(array: Array) -> np.ndarray:
    """Return an array as NumPy, wherever it lives.

    Parameters
    ----------
    array
        Any shape, any library.

    Returns
    -------
    The same numbers; NumPy arrays as they are.
    """
    if isinstance(array, np.ndarray):
        return array
    if hasattr(array, "get"):  # CuPy
        return np.asarray(array.get())
    if hasattr(array, "detach"):  # torch
        return np.asarray(array.detach().cpu().numpy())
    return np.asarray(array)


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Tell the C library to keep freed memory, up to 64 MiB, for the next array; once per process.

    A frame's work makes hundreds of arrays of about a megabyte. By default glibc hands each back to
    the system and asks for it again, and the workers of `distributed` are started with an even
    smaller threshold (``MALLOC_TRIM_THRESHOLD_=65536``): measured on 512 x 512 frames, 117 ms per
    frame there, 52 ms by default, 34 ms with memory kept. Does nothing without glibc.

    Returns
    -------
    Whether the thresholds were set.
    """
    if not sys.platform.startswith("linux"):
        return False
    m_trim_threshold, m_mmap_threshold = -1, -3
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(m_mmap_threshold, 32 * 2**20) and mallopt(m_trim_threshold, 64 * 2**20))
