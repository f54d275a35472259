"""What `open_results` gives: the tables of a run, its figures, and its report.

results = sk.open_results("results/")
results.transitions                       # a table
results.plot.survival()                   # a figure of the report, as Matplotlib axes
results.report()                          # report.html, written again
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from stemkin.results.reading import ResultsFolder, results_folder

if TYPE_CHECKING:
    from stemkin.report.plots import ResultPlots


@dataclass(frozen=True, repr=False)
class OpenedResults(ResultsFolder):
    """The results folder of a run, as `open_results` gives it.

    Attributes
    ----------
    store
        The folder.
    """

    @cached_property
    def plot(self) -> ResultPlots:
        """The figures of the report: ``results.plot.populations()`` and so on."""
        from stemkin.report.plots import ResultPlots

        return ResultPlots(self.store)

    def report(self) -> str:
        """Write ``report.html`` again from the tables; return its path or URL. Computes once."""
        from stemkin.report import write_report

        return write_report(self.store.root)

    def to_napari(self, movie: str | None = None) -> Any:
        """Open napari with a movie, its detections, tracks and order; return its viewer.

        Parameters
        ----------
        movie
            Its name, by default the first.
        """
        from stemkin.viewer import open_viewer

        return open_viewer(self, movie)


def open_results(path: Any) -> OpenedResults:
    """Open the results folder of a run. Computes nothing: only what the run noted is read.

    Parameters
    ----------
    path
        Path of the folder, or a URL that fsspec knows.

    Returns
    -------
    What lists and reads its tables (``results.tables()``, ``results.transitions``), draws the
    figures of its report (``results.plot.survival()``) and writes it again (``results.report()``).

    Raises
    ------
    FolderError
        If it is no results folder (a `ValueError`).
    """
    if isinstance(path, OpenedResults):
        return path
    return OpenedResults(results_folder(path).store)
