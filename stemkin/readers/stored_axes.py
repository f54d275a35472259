"""The rule by which the axes of a stored array become t, y and x, or the array is refused.

`stemkin.readers.axes.frames_in` is its door, and says the rule in words.
"""

from __future__ import annotations

from dataclasses import dataclass

from stemkin.readers.axis import THINGS, Axis, meaning_of
from stemkin.readers.base import Options
from stemkin.readers.errors import MovieError
from stemkin.readers.place import Place

MAX_CHANNELS = 16
"""More "channels" than any microscope has detectors are frames: so ImageJ and its writers name a
stack that says nothing of itself."""

OPEN = ("", "stack", "length")
"""What an axis is that may still become t, y or x."""


@dataclass(frozen=True)
class StoredArray:
    """An array with what its file says of it.

    Attributes
    ----------
    axes
        One per axis of the array, in its order.
    lengths
        Of every axis.
    source, options
        For messages; what the user says of channels and time.
    """

    axes: tuple[Axis, ...]
    lengths: tuple[int, ...]
    source: str | Place
    options: Options

    def letters(self, order: str) -> list[str]:
        """Return ``"t"``, ``"y"``, ``"x"``, ``"colour"`` or what else it is, for every axis.

        Raises
        ------
        MovieError
            If it is no movie, or contradicts itself.
        """
        forced = self.forced
        what = [self._what(i, forced) for i in range(len(self.axes))]
        self._check_agreement(what, forced)
        self._check_kind(what)
        what = self._completed(what, order)
        if "y" not in what or "x" not in what:
            raise self.no_movie()
        # where no axis has several frames, a time of length 1 still says how long the frame took
        once = [i for i, axis in enumerate(self.axes) if axis.what == "t" and what[i] == "1"]
        if "t" not in what and once:
            what[once[0]] = "t"
        return what

    @property
    def forced(self) -> int | None:
        """The axis that the user calls time; None if nothing was said.

        Raises
        ------
        MovieError
            If there is no such axis.
        """
        wanted = self.options.time_axis
        if wanted is None:
            return None
        text = wanted.strip().casefold()
        found = [i for i, axis in enumerate(self.axes) if axis.name.strip().casefold() == text]
        if not found and text.lstrip("-").isdigit() and -len(self.axes) <= int(text):
            found = [i for i in range(len(self.axes)) if int(text) in (i, i - len(self.axes))]
        if not found and meaning_of(wanted):
            found = [i for i, axis in enumerate(self.axes) if axis.called == meaning_of(wanted)]
        if len(found) != 1:
            msg = (
                f"{self.source} has no axis {wanted!r} that could be time; its axes are "
                f"{self.described()}; time_axis is the name or the number of one"
            )
            raise MovieError(msg)
        return found[0]

    def _what(self, i: int, forced: int | None) -> str:
        axis, n = self.axes[i], self.lengths[i]
        if i == forced:
            return "t"
        if axis.called in ("y", "x"):
            return axis.what
        if n == 1:
            return "1"
        if axis.what == "s" and n in (3, 4):
            return "colour"
        if axis.what == "t" and forced is not None:
            return "another time"
        return axis.what

    def _check_agreement(self, what: list[str], forced: int | None) -> None:
        """Refuse axes whose names and units contradict each other.

        Raises
        ------
        MovieError
            If an axis contradicts itself, or two axes are the same.
        """
        wrong = []
        for i, axis in enumerate(self.axes):
            if i != forced and what[i] != "1" and axis.contradiction():
                wrong.append(f"axis {i} {axis.contradiction()}")
        twice = [letter for letter in ("t", "y", "x") if what.count(letter) > 1 and not wrong]
        wrong += [f"{what.count(letter)} axes are {letter}" for letter in twice]
        edges = [axis for axis in self.axes if axis.called in ("y", "x") and axis.measured]
        if not wrong and len({axis.measured for axis in edges}) > 1:
            wrong.append(
                " but ".join(f"{axis.name!r} is measured in {axis.unit}" for axis in edges)
            )
        if wrong:
            msg = (
                f"{self.source} contradicts itself: {'; '.join(wrong)} (its axes are "
                f"{self.described()})"
            )
            raise MovieError(msg)

    def _check_kind(self, what: list[str]) -> None:
        """Refuse what has an axis that is neither time nor one of an image.

        Raises
        ------
        MovieError
            If there is one; it is called what it is.
        """
        # lengths without a name may be the edges of the image; beyond these two they are depths
        n_edges = 2 - len({"y", "x"} & set(what))
        lengths = [i for i, one in enumerate(what) if one == "length"]
        spare = set(lengths[: max(0, len(lengths) - n_edges)])
        for i, one in enumerate(what):
            if one in THINGS and (one != "length" or i in spare):
                raise MovieError(self._no_movie_but(i, one, has_time="t" in what))

    def _no_movie_but(self, i: int, what: str, *, has_time: bool) -> str:
        axis = self.axes[i]
        thing = THINGS[what].format(axis=self.spelled(i))
        text = f"{self.source} is no movie but {thing}; its axes are {self.described()}"
        if axis.called in ("y", "x") or what == "reciprocal" or has_time:
            return text
        said = axis.name or str(i)
        return f"{text}. If it is time, say so: time_axis={said!r} (--time-axis {said!r})"

    def _completed(self, what: list[str], order: str) -> list[str]:
        """Return `what` with letters for the axes that are still open, as far as they are fixed."""
        what = list(what)
        free = [i for i, one in enumerate(what) if one in OPEN]
        if "t" not in what and self._only_channels(what):
            what[what.index("c")] = "t"
        if "t" not in what:
            time = self._time_among(free, what)
            if time is not None:
                what[time] = "t"
                free.remove(time)
        missing = [letter for letter in order if letter not in what]
        if "t" in missing and len(free) < len(missing):
            missing.remove("t")
        if len(free) != len(missing) or not missing:
            return what
        for i, letter in zip(free, missing, strict=True):
            what[i] = letter
        # of two axes that are open one may be the frames: then the order has to be the usual one
        if "t" in missing and "".join(one for one in what if one in order) != order:
            msg = (
                f"{self.source} does not say which axis is time; its axes are {self.described()}. "
                "Say it: time_axis= (--time-axis) with the name or the number of one"
            )
            raise MovieError(msg)
        return what

    def _time_among(self, free: list[int], what: list[str]) -> int | None:
        """Return which of the axes `free` is fixed to be time; None if nothing fixes it."""
        if {"y", "x"} <= set(what) and len(free) == 1:
            return free[0]
        for kinds in (("stack",), ("", "stack")):
            found = [i for i in free if what[i] in kinds]
            if len(found) == 1 and len(free) > 1:
                return found[0]
        return None

    def _only_channels(self, what: list[str]) -> bool:
        """Tell whether the only axis beside the image counts more channels than there can be."""
        beside = [i for i, one in enumerate(what) if one not in ("y", "x", "colour", "1")]
        return (
            self.options.channel is None
            and [what[i] for i in beside] == ["c"]
            and self.lengths[beside[0]] > MAX_CHANNELS
        )

    def one_of(self, i: int) -> int:
        """Return the index to take of an axis that is neither time nor space.

        Raises
        ------
        MovieError
            If none is chosen, or the one that is chosen is not there.
        """
        n = self.lengths[i]
        channel = self.options.channel
        if self.axes[i].what == "c" and channel is not None:
            if not 0 <= channel < n:
                msg = (
                    f"channel {channel} was asked of {self.source}, which has channels 0 to {n - 1}"
                )
                raise MovieError(msg)
            return channel
        what = f"steps along {self.spelled(i)}; frames have only (t, y, x)"
        if self.axes[i].what == "c":
            what = "channels; choose one with channel=, or say that they are frames with time_axis="
        msg = f"{self.source} has shape {self.lengths} with {n} {what}"
        raise MovieError(msg)

    def note(self, letters: list[str]) -> str:
        """Return what the user should know of the axis that is read as time; mostly nothing."""
        if "t" not in letters:
            return ""
        i = letters.index("t")
        if self.options.time_axis is not None:
            return f"{self.spelled(i)} is read as time, as was asked for"
        is_usual = self.axes[i].called == "t" or self.axes[i].name.lower() in ("", "i", "q")
        if is_usual or self.lengths[i] == 1:
            return ""
        return f"its {self.axes[i].name!r} axis is read as time"

    def spelled(self, i: int) -> str:
        """Return an axis as a message names it."""
        if self.axes[i].name:
            return f"its axis {self.axes[i].name!r}"
        return f"its axis {i}"

    def described(self) -> str:
        """Return the axes as a message lists them: ``0 'x' [nm] (40)``."""
        parts = []
        for i, (axis, n) in enumerate(zip(self.axes, self.lengths, strict=False)):
            words = [str(i)]
            if axis.name:
                words.append(repr(axis.name))
            if axis.unit:
                words.append(f"[{axis.unit.strip('[]')}]")
            parts.append(" ".join([*words, f"({n})"]))
        return ", ".join(parts)

    def no_movie(self) -> MovieError:
        """Return the error for an array that has not the axes of frames."""
        msg = (
            f"{self.source} holds an array of shape {self.lengths}, which is no movie; frames are "
            "(t, y, x), one image is (y, x)"
        )
        return MovieError(msg)
