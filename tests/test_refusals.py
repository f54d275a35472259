"""What is refused is said in one sentence: what is wrong, the value that was met, and the cure.

All errors that stemkin raises with words of its own are read from its code. A sentence is told by
what it must hold; whether it is a good one, people read.
"""

import ast
import re

from tests.sources import below_package, mentioning, tree_of

OF_ITS_OWN = {"DamagedFileError", "MovieError", "DamagedDataError", "NotOpenedError", "ChangedMovieError",
              "NoSuchFrameError", "UnknownKindError", "UnpackableError", "AttributeError", "IndexError",
              "FileExistsError"}  # fmt: skip
"""Errors of which the cure is elsewhere: in the class itself, in a better file, in who catches it."""
ABSENT = re.compile(r"\b(no|not|none|nothing|empty|without|lost|NaN)\b")
"""Words of what is absent, or of no number: then there is no value to be met."""
CURE = re.compile(
    r"; |: (give|drop|use|pass)\b|, (but|not) |\b(must|needs?|use|give|pass|wants|can be|may be|at most|at least|"
    r"is said like|are told by|is made of|is one of|update)\b|, so "
)
"""How a cure begins; or what is asked is said beside what was met; or what follows from it."""


CURED_ELSEWHERE = {
    "no movies were found: {}",
    "movie {} has no {}",
    "{} = {} is not physical: {}",
}
"""Sentences of which the value holds the rest, cure included."""


def words_of(node):
    """A sentence as text, with braces for the values in it; None if it is not written there."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(words_of(part) or "" for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return "{}"
    if isinstance(node, ast.BinOp):
        return (words_of(node.left) or "{}") + (words_of(node.right) or "{}")
    return None


def sentences(path):
    """Yield (line, name of the error, words) of what a file raises."""
    said = {}
    raising = [n for n in ast.walk(tree_of(path)) if isinstance(n, (ast.Assign, ast.Raise))]
    for node in sorted(raising, key=lambda n: n.lineno):
        if isinstance(node, ast.Assign):
            if isinstance(node.targets[0], ast.Name):
                said[node.targets[0].id] = words_of(node.value)
        elif isinstance(node.exc, ast.Call) and len(node.exc.args) == 1:
            given = node.exc.args[0]
            words = said.get(given.id) if isinstance(given, ast.Name) else words_of(given)
            if words:
                yield node.lineno, ast.unparse(node.exc.func), words


def refusals():
    """Every sentence of stemkin: (place, name of the error, words)."""
    return [
        (f"{below_package(path)}:{line}", name, words)
        for path in mentioning("raise ")
        for line, name, words in sentences(path)
    ]


def problems(name, words):
    """What a sentence lacks."""
    if "\n" in words.strip():
        yield "it is more than one line"
    if words.rstrip().endswith(".") and not words.endswith("=..."):
        yield "it ends as if another sentence came"
    if "{}" not in words and not ABSENT.search(words):
        yield "it says no value that was met"
    # what begins so is the second half of a sentence that names a file
    a_half = words.startswith(("it ", "its ", "{}: ", "{} bytes", "{} of its"))
    told = a_half or name in OF_ITS_OWN or words in CURED_ELSEWHERE
    if not told and not CURE.search(words):
        yield "it says no cure"


def test_every_refusal_says_the_value_met_and_the_cure():
    found = refusals()
    assert len(found) > 400
    wrong = [
        f"{place}: {name}: {words}: {lacks}"
        for place, name, words in found
        for lacks in problems(name, words)
    ]
    assert not wrong, "\n".join(wrong)


def test_sentences_that_lack_something_are_found():
    assert list(problems("ValueError", "the width is wrong; use another")) == [
        "it says no value that was met"
    ]
    assert list(problems("ValueError", "the width is {}")) == ["it says no cure"]
    assert list(problems("MovieError", "the width is {}")) == []
    assert list(problems("ValueError", "there is no movie; check the folder")) == []
    assert list(problems("ValueError", "one {}; use two.")) == [
        "it ends as if another sentence came"
    ]
