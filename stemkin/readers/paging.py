"""A page cache for headers: small reads all over a file cost one request per page."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from stemkin.readers.place import Place

PAGE_BYTES = 2**16
N_PAGES = 64


@dataclass
class Pages:
    """Bytes of a file of `size` bytes, read in pages of which the latest few are kept."""

    place: Place
    size: int
    _kept: OrderedDict[int, bytes] = field(default_factory=OrderedDict)

    def read(self, start: int, n: int) -> bytes:
        """Return `n` bytes from `start` on.

        Raises
        ------
        EOFError
            If the file ends before.
        """
        if start < 0 or n < 0 or start + n > self.size:
            msg = f"it ends at byte {self.size}, before what its header points to"
            raise EOFError(msg)
        # page i holds bytes i * PAGE_BYTES to (i + 1) * PAGE_BYTES; a read may begin in one page
        # and end in another
        first, last = start // PAGE_BYTES, (start + max(n, 1) - 1) // PAGE_BYTES
        joined = b"".join(self._page(i) for i in range(first, last + 1))
        return joined[start - first * PAGE_BYTES :][:n]

    def _page(self, i: int) -> bytes:
        if i not in self._kept:
            # the page that came first goes first: headers are parsed from the front to the back
            self._kept[i] = self.place.read(i * PAGE_BYTES, (i + 1) * PAGE_BYTES)
            if len(self._kept) > N_PAGES:
                self._kept.popitem(last=False)
        return self._kept[i]
