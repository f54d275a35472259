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
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce, wraps
from itertools import groupby
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast

import dask
import numpy as np
import pandas as pd
from dask.base import tokenize

from stemkin.blas import on_one_thread, one_thread
from stemkin.rows.trees import as_tree
from stemkin.rows.whole import (
    TracksMet,
    gathered_first,
    holds_whole_tracks,
    met_by,
    whole_or_refused,
)
from stemkin.vocabulary import check_shuffle, check_table, checked

Sums = dict[Any, Any]
"""What a partition adds: key → vector of integers or exact slices (or what else has a +). Two of
them combine by addition, key by key, in any order."""

Add = Callable[[Any], Sums]
"""From the rows of a partition to what they add."""

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
    of_tracks
        Whether the sums are right only where each partition holds whole tracks. False: rows may be
        cut anywhere.
    """

    add: Add | tuple[Add, ...]
    finish: Callable[..., Answer]
    settle: Callable[[Sums], Sums] | None = None
    of_tracks: bool = True

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

    def then(self, follows: Callable[[Answer], Answer_co]) -> Question[Answer_co]:
        """Return the question whose answer is what `follows` from the answer of this one.

        Parameters
        ----------
        follows
            Called once, where the answer is.
        """
        return Question(
            self.add, lambda *sums: follows(self.finish(*sums)), self.settle, self.of_tracks
        )


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
def answers(
    tracks: Any, questions: Sequence[Question[Any]], *, shuffle: bool | None = None
) -> list[Any]:
    """Answer all `questions` in one pass over the rows. Computes once: each partition is read once.

    Parameters
    ----------
    tracks
        pandas table, or Dask DataFrame.
    questions
        What is asked; see the module's docstring. What two of them sum alike is summed once.
    shuffle
        Whether a Dask table is shuffled, so that partitions hold whole tracks
        (`stemkin.gather_tracks`). None: where tracks are found to be cut while the rows are summed,
        and there are fewer than 20 million rows; more are refused. True: before anything is summed.
        False: never, so that cut tracks are refused.

    Returns
    -------
    The answers, in the order of the questions: the same to the bit for every partitioning and
    scheduler, where the sums are whole numbers or exact slices.

    Raises
    ------
    ValueError
        If partitions cut tracks and are not shuffled.

    Notes
    -----
    A task holds one partition, one view of it, and sums; only sums travel, and of a table that is
    not known to hold whole tracks the tracks' names (8 bytes each, 16 MB at most).
    """
    check_table(tracks)
    check_shuffle(shuffle)
    sought = AskedSums.of(questions)
    of_tracks = any(question.of_tracks for question in questions)
    if of_tracks:
        tracks = gathered_first(tracks, shuffle=shuffle)
    if not of_tracks or holds_whole_tracks(tracks):
        total = sought.total(tracks)
    else:
        total = sought.total(tracks, watched=True)
        met: TracksMet = total.get(_WATCHED, {}).get("tracks", TracksMet(np.zeros(0, np.uint64)))
        whole = whole_or_refused(tracks, met, shuffle=shuffle)
        if met.n_cut:
            total = sought.total(whole)
    found = []
    for question, numbers in zip(questions, sought.asked, strict=True):
        sums = [total.get(number, {}) for number in numbers]
        found.append(question.finish(*sums))
    return found


_WATCHED = -1
"""Number of the sum that tells which tracks were met."""


@dataclass(frozen=True)
class AskedSums:
    """All that several questions sum, each sum once.

    Attributes
    ----------
    adds
        Sums by number.
    tokens
        Number → what tells a sum from every other: all that it depends on but the rows.
    asked
        The numbers of each question's sums.
    settled
        Number → how the sums of whole movies are made smaller.
    """

    adds: Mapping[int, Add]
    tokens: list[str]
    asked: list[tuple[int, ...]]
    settled: dict[int, Callable[[Sums], Sums]]

    @classmethod
    def of(cls, questions: Sequence[Question[Any]]) -> AskedSums:
        """Return what the `questions` sum.

        Equal sums of several questions have one name, and so one number; a sum that settles is
        another one than the same sum that does not.
        """
        numbers: dict[str, int] = {}
        adds: dict[int, Add] = {}
        asked: list[tuple[int, ...]] = []
        settled: dict[int, Callable[[Sums], Sums]] = {}
        for question in questions:
            own = []
            for add in question.adds:
                name = tokenize(add, question.settle)
                if name not in numbers:
                    numbers[name] = len(adds)
                    adds[len(adds)] = add
                own.append(numbers[name])
                if question.settle is not None:
                    settled[numbers[name]] = question.settle
            asked.append(tuple(own))
        return cls(adds, list(numbers), asked, settled)

    def only(self, numbers: Collection[int]) -> AskedSums:
        """Return the same with some of the sums alone.

        Parameters
        ----------
        numbers
            Of those sums.
        """
        adds = {number: self.adds[number] for number in numbers}
        settled = {number: self.settled[number] for number in numbers if number in self.settled}
        return AskedSums(adds, self.tokens, self.asked, settled)

    def total(self, tracks: Any, *, watched: bool = False) -> dict[int, Sums]:
        """Return number → sums of all rows; if `watched`, also of which tracks were met."""
        numbered = list(self.adds.items())
        if watched:
            numbered.append((_WATCHED, _met))
        plan = _Plan.of(numbered)
        settle = None
        if self.settled:
            settle = partial(_settled, how=self.settled)
        return _summed(tracks, partial(_sums_of, plan=plan), settle)


def _met(rows: pd.DataFrame) -> Sums:
    """Return the tracks that the `rows` of a partition are of."""
    return {"tracks": TracksMet.of(rows)}


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
        trees = [as_tree([part for _, part in own], all_sums) for _, own in by_movie]
        parts = [dask.delayed(on_one_thread)(settle, tree) for tree in trees]
    if not parts:
        return {}
    (result,) = dask.compute(as_tree(parts, all_sums))
    return dict(result)


def all_sums(parts: Sequence[dict[Any, Sums]]) -> dict[Any, Sums]:
    """Return name → the sum of the `parts`.

    Parameters
    ----------
    parts
        Sums by the same names, or some of them.
    """
    numbers = sorted({number for part in parts for number in part})
    return {number: added([part.get(number, {}) for part in parts]) for number in numbers}


def held(
    tracks: Any, compact: Callable[[pd.DataFrame], Any], *, shuffle: bool | None = None
) -> list[Any]:
    """Return what `compact` keeps of each partition, in the workers' memory. Computes once.

    For verbs that pass over it many times; it is made in one pass over the tracks.

    Parameters
    ----------
    tracks
        pandas table, or Dask DataFrame.
    compact
        Picklable; from the rows of a partition to what is kept of them.
    shuffle
        As in `answers`.

    Raises
    ------
    ValueError
        As `answers`.
    """
    if isinstance(tracks, pd.DataFrame):
        return [dask.delayed(on_one_thread(compact, tracks))]
    tracks = gathered_first(tracks, shuffle=shuffle)
    if holds_whole_tracks(tracks):
        parts = [dask.delayed(on_one_thread)(compact, part) for part in tracks.to_delayed()]
        return list(dask.persist(*parts))
    both = [
        dask.delayed(on_one_thread)(_held_and_met, part, compact) for part in tracks.to_delayed()
    ]
    *parts, names = dask.persist(*[pair[0] for pair in both], met_by([pair[1] for pair in both]))
    met: TracksMet = names.compute()
    if met.n_cut == 0:
        return list(parts)
    del both, parts
    return held(whole_or_refused(tracks, met, shuffle=shuffle), compact)


def _held_and_met(
    rows: pd.DataFrame, compact: Callable[[pd.DataFrame], Any]
) -> tuple[Any, TracksMet]:
    return compact(rows), TracksMet.of(rows)


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
    of_tracks = next(iter(signature.parameters)) == "tracks"
    known = dict(signature.parameters)
    if of_tracks:
        known["shuffle"] = SHUFFLE

    @one_thread
    @wraps(question)
    def ask(*args: Any, shuffle: bool | None = None, **kwargs: Any) -> Answer:
        check_shuffle(shuffle)
        rows = next(iter(signature.bind(*args, **kwargs).arguments.values()))
        (answer,) = answers(rows, [question(*args, **kwargs)], shuffle=shuffle)
        return cast(Answer, answer)

    returned = str(signature.return_annotation).removeprefix("Question[").removesuffix("]")
    asking = cast(Any, ask)
    asking.question = question
    asking.__signature__ = signature.replace(
        parameters=list(known.values()), return_annotation=returned
    )
    if of_tracks:
        asking.__doc__ = _with_shuffle(question.__doc__ or "")
    return cast("Verb[Words, Answer]", ask)


SHUFFLE = inspect.Parameter(
    "shuffle", inspect.Parameter.KEYWORD_ONLY, default=None, annotation="bool | None"
)
"""The keyword that every verb of tracks has besides those of its question."""


def _with_shuffle(doc: str) -> str:
    """Return the docstring of a question with what ``shuffle`` means, behind its last parameter."""
    told = (
        "    shuffle\n"
        "        Whether a Dask table is shuffled, so that partitions hold whole tracks. None: where\n"
        "        tracks are found to be cut and there are fewer than 20 million rows; see `answers`.\n"
    )
    head, mark, rest = doc.partition("\n    Returns\n")
    return head + told + mark + rest
