"""Threads of the linear algebra: one, wherever stemkin computes.

A library of matrix products splits large ones among its threads, and a sum that is split otherwise
is rounded otherwise. So the bits of a lattice, a class or a rate would depend on how many cores a
machine has. Here every task and every fit runs with one thread, on whichever scheduler; stemkin's
own parallelism is that of its tasks.

>>> with one_thread:                  # a block of code,
...     product = np.ones((300, 300)) @ np.ones((300, 300))
>>> @one_thread                       # a function,
... def norm(v):
...     return float(np.sqrt(v @ v))
>>> norm(np.ones(40_000)), on_one_thread(norm, np.ones(4))     # and a task
(200.0, 2.0)

What depends on the threads of OpenBLAS 0.3 (found by running each operation with 1, 2 and 4): dot
products and norms of more than 10,000 numbers, products of matrices from about 100 x 100 on
(64 x 64 if complex), and with them `inv`, `solve`, `eigh`, `eig`, `svd`, `cholesky` and `expm` of
matrices of that size. Not `einsum` unless it is optimised, nor sums. Apple's Accelerate cannot be
told; nor can a library that is linked into another one.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import ContextDecorator
from typing import Any, ParamSpec, TypeVar

import numpy as np  # noqa: F401 - for an example

Given = ParamSpec("Given")
Result = TypeVar("Result")

CARRIERS = (
    "sklearn.utils._openmp_helpers",
    "torch._C",
    "numba.np.ufunc.omppool",
    "mkl._mklinit",
    "cupy_backends.cuda.libs.cublas",
    "deeptime.numeric._numeric_bindings",
)
"""Extension modules that bring a library of threads with them; each is listed in `sys.modules` only
when that library is loaded. NumPy's and SciPy's are there from the first entry on."""


class Torch:
    """The setting of torch itself, with the methods of threadpoolctl's controllers.

    torch hands it to OpenMP when a thread first computes.
    """

    user_api, internal_api, filepath = "openmp", "torch", "torch"

    def get_num_threads(self) -> int:
        """Return with how many threads torch computes in this thread."""
        return int(sys.modules["torch"].get_num_threads())

    def set_num_threads(self, n_threads: int) -> None:
        """Set it."""
        sys.modules["torch"].set_num_threads(n_threads)


class OneThread(ContextDecorator):
    """BLAS and OpenMP with one thread each: context manager and decorator, used as `one_thread`.

    Entries nest, in one thread and in several at once. OpenBLAS has one setting for the process:
    the first entry of all sets it, and the last one to leave puts it back. OpenMP has one for each
    thread: the first entry of a thread sets it and the last one of that thread puts it back.
    """

    def __init__(self) -> None:
        """Start with nobody inside and no library known."""
        self._turn = threading.RLock()  # a garbage collector may leave a block while it is held
        self._inside = 0
        self._before: dict[str, tuple[Any, int]] = {}
        self._carriers: tuple[bool, ...] | None = None
        self._blas: list[Any] = []
        self._openmp: list[Any] = []
        self._here = threading.local()

    def __reduce__(self) -> str:
        """Travel by name: a worker has its own."""
        return "one_thread"

    def __enter__(self) -> OneThread:
        """Bound every library that is loaded by now."""
        with self._turn:
            self._look()
            self._inside += 1
            for library in self._blas:
                self._bound(library, self._before)
        depth = getattr(self._here, "depth", 0)
        if depth == 0:
            self._here.before = {}
        self._here.depth = depth + 1
        for library in self._openmp:
            self._bound(library, self._here.before)
        return self

    def __exit__(self, *_: object) -> None:
        """Put back what was set before, if nobody else needs the bound."""
        self._here.depth -= 1
        if self._here.depth == 0:
            self._restore(self._here.before)
        with self._turn:
            self._inside -= 1
            if self._inside == 0:
                self._restore(self._before)

    def _look(self) -> None:
        """List the libraries that are loaded, if one may have come since the last look.

        A look takes some 50 ms.
        """
        carriers = tuple(name in sys.modules for name in CARRIERS)
        if carriers == self._carriers:
            return
        import scipy.linalg  # noqa: F401 - brings its own OpenBLAS
        from threadpoolctl import ThreadpoolController

        found = ThreadpoolController().lib_controllers
        self._blas = [library for library in found if not _is_of_the_thread(library)]
        self._openmp = [library for library in found if _is_of_the_thread(library)]
        if "torch._C" in sys.modules:
            self._openmp.insert(0, Torch())
        self._carriers = carriers

    @staticmethod
    def _bound(library: Any, before: dict[str, tuple[Any, int]]) -> None:
        """Give `library` one thread; `before` keeps how many it had at the first entry."""
        n = library.get_num_threads()
        if n is None or n == 1:
            return
        before.setdefault(library.filepath, (library, n))
        _set(library, 1)

    @staticmethod
    def _restore(before: dict[str, tuple[Any, int]]) -> None:
        for library, n in before.values():
            _set(library, n)
        before.clear()


def _is_of_the_thread(library: Any) -> bool:
    """Tell whether each thread sets `library` for itself: OpenMP, and what is built on it."""
    return library.user_api == "openmp" or getattr(library, "threading_layer", "") == "openmp"


def _set(library: Any, n_threads: int) -> None:
    """Tell `library` how many threads it has.

    threadpoolctl lets only one thread of the process, the first that ever set it, set OpenBLAS, and
    says nothing where another one tries; who holds the lock of `one_thread` takes its place.
    """
    if library.internal_api == "openblas":
        library.clear_controlling_thread(force=True)
    library.set_num_threads(n_threads)
    if library.internal_api == "openblas":
        library.clear_controlling_thread(force=True)


one_thread = OneThread()
"""The bound itself: ``with one_thread:`` around a block, ``@one_thread`` above a function."""


def on_one_thread(function: Callable[..., Result], *args: Any, **words: Any) -> Result:
    """Call `function` with one thread of BLAS and OpenMP.

    Handed to a scheduler in its place: ``partial(on_one_thread, function)``.
    """
    with one_thread:
        return function(*args, **words)
