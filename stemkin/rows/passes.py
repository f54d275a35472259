"""One pass over the rows, many questions: what a partition adds, how it is added, what follows.

    rows of whole tracks ─ add ─▶ sums of a partition ─ a tree of + ─▶ sums of all ─ finish ─▶ table

A `Question` says what the rows of a partition add (a dictionary whose values have a +) and what
follows from the total. `answers` asks any number of them in a single pass, so each row is read once
however much is asked. Every verb of kinetics and diffusion is such a question: what
``transitions(tracks, by="movie")`` asks is ``transitions.question(tracks, by="movie")``.

Your own question rides along. How many steps does each class make to the left, and how many to the
right?

>>> def count_steps(rows):
...     rows = rows.sort_values(["particle", "frame"])
...     step = rows.groupby("particle")["x_nm"].diff()
...     return {
...         int(i): np.array([(own < 0).sum(), (own > 0).sum()])
...         for i, own in step.groupby(rows["class_id"])
...     }
>>> def as_table(sums):
...     return pd.DataFrame.from_dict(sums, orient="index", columns=["left", "right"]).sort_index()
>>> rows = pd.DataFrame({"particle": 1, "frame": range(4), "class_id": 0, "x_nm": [0.0, 1, 3, 2]})
>>> (steps,) = answers(rows, [Question(count_steps, as_table)])
>>> steps.to_numpy().tolist()
[[1, 2]]

Known traps. (1) Partial sums are added in any order: whole numbers and `kernels.common.exact`
slices give the same bits each time, plain floating-point numbers do not. (2) `add` travels to other
processes, so it is a function of a module, not one made on the way. (3) Sums should stay small: a
key for each class or movie, not for each row.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce, wraps
from itertools import groupby
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast

import dask
import numpy as np  # noqa: F401 - for the example above
import pandas as pd
from dask.base import tokenize

from stemkin.blas import on_one_thread, one_thread
from stemkin.vocabulary import checked

Sums = dict[Any, Any]
"""What a partition adds: key → vector of integers or exact slices (or what else has a +). Two of
them combine by addition, key by key, in any order."""

Add = Callable[[Any], Sums]
"""From the rows of a partition to what they add."""

FAN = 8
"""Partial sums that one task adds."""

Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)
Words = ParamSpec("Words")


@dataclass(frozen=True)
class Question(Generic[Answer]):
    """What is to be summed over the rows of whole tracks, and what follows from the sums.

    Attributes
    ----------
    add
        Picklable; from the rows of a partition (a pandas table) to what they add. Or several of
        these: each gives sums of its own, and what two questions share is summed once.
    finish
        From the sums of all rows (one argument for each `add`) to the answer. Empty dictionaries
        where there are no rows.
    settle
        Where not None: from the sums of whole movies to smaller ones, which are added in their
        stead. It is called for each movie where the partitions tell whose they are, else for all
        movies together; both must come to the same.
    """

    add: Add | tuple[Add, ...]
    finish: Callable[..., Answer]
    settle: Callable[[Sums], Sums] | None = None

    @property
    def adds(self) -> tuple[Add, ...]:
        """All that is summed."""
        if isinstance(self.add, tuple):
            return self.add
        return (self.add,)

    def through(self, view: Callable[[Any], Any]) -> Question[Answer]:
        """Return the same question, asked of what `view` makes of the rows of a partition.

        Parameters
        ----------
        view
            Picklable; questions with the same view share its work.
        """
        return replace(self, add=tuple(Through(view, add) for add in self.adds))


@dataclass(frozen=True)
class Through:
    """What `add` sums of the rows as `view` shows them: ``add(view(rows))``.

    Within one pass each view of a partition is made once for all that look through it, and is gone
    before the next one.
    """

    view: Callable[[Any], Any]
    add: Add

    def __call__(self, rows: Any) -> Sums:
        """Return what the `rows` add."""
        return self.add(self.view(rows))


@one_thread
def answers(tracks: Any, questions: Sequence[Question[Any]]) -> list[Any]:
    """Answer all `questions` in one pass over the rows. Computes once: each partition is read once.

    Parameters
    ----------
    tracks
        pandas table, or Dask DataFrame whose partitions hold whole tracks.
    questions
        What is asked; see the module's docstring. What two of them sum alike is summed once.

    Returns
    -------
    The answers, in the order of the questions: the same to the bit for every partitioning and
    scheduler, where the sums are whole numbers or exact slices.

    Notes
    -----
    A task holds one partition, one view of it, and sums; only sums travel.
    """
    # Equal sums of several questions have one name, and so one slot; a sum that settles is another
    # one than the same sum that does not.
    slots: dict[str, int] = {}
    adds: list[Add] = []
    asked: list[tuple[int, ...]] = []
    settled: dict[int, Callable[[Sums], Sums]] = {}
    for question in questions:
        own = []
        for add in question.adds:
            name = tokenize(add, question.settle)
            if name not in slots:
                slots[name] = len(adds)
                adds.append(add)
            own.append(slots[name])
            if question.settle is not None:
                settled[slots[name]] = question.settle
        asked.append(tuple(own))
    plan = _Plan.of(list(enumerate(adds)))
    settle = None
    if settled:
        settle = partial(_settled, how=settled)
    total = _summed(tracks, partial(_sums_of, plan=plan), settle)
    found = []
    for question, numbers in zip(questions, asked, strict=True):
        sums = [total.get(number, {}) for number in numbers]
        found.append(question.finish(*sums))
    return found


@dataclass(frozen=True)
class _Plan:
    """What is summed of the rows themselves, by number; and of each view of them."""

    adds: list[tuple[int, Add]]
    views: list[tuple[Callable[[Any], Any], _Plan]]

    @classmethod
    def of(cls, adds: Iterable[tuple[int, Add]]) -> _Plan:
        """Return the plan of the numbered `adds`; those with equal views look through one."""
        plain: list[tuple[int, Add]] = []
        views: dict[str, tuple[Callable[[Any], Any], list[tuple[int, Add]]]] = {}
        for number, add in adds:
            if isinstance(add, Through):
                _, own = views.setdefault(tokenize(add.view), (add.view, []))
                own.append((number, add.add))
            else:
                plain.append((number, add))
        return cls(plain, [(view, cls.of(own)) for view, own in views.values()])


def _sums_of(rows: Any, *, plan: _Plan) -> dict[int, Sums]:
    """Return number → what the `rows` of a partition add to each sum of the `plan`."""
    found = {number: add(rows) for number, add in plan.adds}
    for view, inner in plan.views:
        found |= _sums_of(view(rows), plan=inner)
    return found


def _settled(
    sums: dict[int, Sums], *, how: Mapping[int, Callable[[Sums], Sums]]
) -> dict[int, Sums]:
    """Return the numbered `sums` of whole movies, those that settle made smaller."""
    return sums | {number: settle(sums.get(number, {})) for number, settle in how.items()}


def sum_over(pieces: Any, kernel: Add) -> Sums:
    """Return the sums of `kernel` over all `pieces`, added as a tree. Computes once.

    Parameters
    ----------
    pieces
        pandas table, Dask DataFrame whose partitions hold whole tracks, or what `held` returned.
    kernel
        Picklable; from the rows of a partition (or what is held of them) to what they add.
    """
    return _summed(pieces, partial(_single, kernel=kernel), None).get(0, {})


def _single(rows: Any, *, kernel: Add) -> dict[int, Sums]:
    return {0: kernel(rows)}


def _summed(
    pieces: Any,
    kernel: Callable[[Any], dict[int, Sums]],
    settle: Callable[[dict[int, Sums]], dict[int, Sums]] | None,
) -> dict[int, Sums]:
    """Return number → sums of all `pieces`; each movie's are settled before they meet others'."""
    if isinstance(pieces, pd.DataFrame):
        found = on_one_thread(kernel, pieces)
        if settle is None:
            return found
        return settle(found)
    delayed = pieces
    if not isinstance(pieces, list):
        delayed = pieces.to_delayed()
    parts = [dask.delayed(on_one_thread)(kernel, piece) for piece in delayed]
    if settle is not None:
        # A movie's partitions stand side by side, so neighbours with one owner are a whole movie;
        # where owners are not known, all partitions are one.
        owners = getattr(pieces, "movie_of_partition", None) or [""] * len(parts)
        by_movie = groupby(zip(owners, parts, strict=True), key=lambda pair: pair[0])
        trees = [_tree([part for _, part in own]) for _, own in by_movie]
        parts = [dask.delayed(on_one_thread)(settle, tree) for tree in trees]
    if not parts:
        return {}
    (result,) = dask.compute(_tree(parts))
    return dict(result)


def _tree(parts: list[Any]) -> Any:
    """Return the delayed sum of the delayed `parts`, at most `FAN` of them added by one task."""
    # Neighbours are added level by level, so a task holds at most `FAN` sums and the order of
    # additions is that of the partitions, whichever of them is done first.
    while len(parts) > 1:
        parts = [dask.delayed(_together)(parts[i : i + FAN]) for i in range(0, len(parts), FAN)]
    return parts[0]


def _together(parts: Sequence[dict[int, Sums]]) -> dict[int, Sums]:
    """Return number → the sum of the `parts`."""
    numbers = sorted({number for part in parts for number in part})
    return {number: added([part.get(number, {}) for part in parts]) for number in numbers}


def held(tracks: Any, compact: Callable[[pd.DataFrame], Any]) -> list[Any]:
    """Return what `compact` keeps of each partition, in the workers' memory. Computes once.

    For verbs that pass over it many times; it is made in one pass over the tracks.

    Parameters
    ----------
    tracks
        pandas table, or Dask DataFrame whose partitions hold whole tracks.
    compact
        Picklable; from the rows of a partition to what is kept of them.
    """
    if isinstance(tracks, pd.DataFrame):
        return [dask.delayed(on_one_thread(compact, tracks))]
    parts = [dask.delayed(on_one_thread)(compact, part) for part in tracks.to_delayed()]
    return list(dask.persist(*parts))


def added(parts: Sequence[Sums]) -> Sums:
    """Return the sum of `parts`, key by key.

    >>> added([{("a",): np.array([1])}, {("a",): np.array([2]), ("b",): np.array([5])}])
    {('a',): array([3]), ('b',): array([5])}
    """
    return reduce(_add, parts, {})


def _add(total: Sums, part: Sums) -> Sums:
    for key, vector in part.items():
        if key in total:
            vector = total[key] + vector  # not in place: the parts' own vectors stay as they are
        total[key] = vector
    return total


class Verb(Protocol[Words, Answer_co]):
    """A verb that asks one question of a table; its `question` may be asked with others."""

    __name__: str
    question: Callable[Words, Question[Any]]

    def __call__(self, *args: Words.args, **kwargs: Words.kwargs) -> Answer_co:
        """Ask the question by itself. Computes once: one pass over the rows."""


def verb(question: Callable[Words, Question[Answer]]) -> Verb[Words, Answer]:
    """Return the verb that asks `question` at once, with the question itself as its ``.question``.

    Parameters
    ----------
    question
        From a table of rows, and keywords, to the question. Of the table only its columns and what
        it remembers of the experiment are looked at; nothing is computed.

    Examples
    --------
    >>> @verb
    ... def number_of_rows(rows, *, factor=1):
    ...     return Question(lambda rows: {"n": factor * len(rows)}, lambda sums: sums.get("n", 0))
    >>> rows = pd.DataFrame({"frame": range(5)})
    >>> number_of_rows(rows, factor=2)
    10
    >>> answers(rows, [number_of_rows.question(rows), number_of_rows.question(rows, factor=3)])
    [5, 15]
    """
    question = checked(question)
    signature = inspect.signature(question)

    @one_thread
    @wraps(question)
    def ask(*args: Words.args, **kwargs: Words.kwargs) -> Answer:
        rows = next(iter(signature.bind(*args, **kwargs).arguments.values()))
        (answer,) = answers(rows, [question(*args, **kwargs)])
        return cast(Answer, answer)

    returned = str(signature.return_annotation).removeprefix("Question[").removesuffix("]")
    asking = cast(Any, ask)
    asking.question = question
    asking.__signature__ = signature.replace(return_annotation=returned)
    return cast("Verb[Words, Answer]", ask)
