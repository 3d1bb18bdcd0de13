"""Errors that a user can cause; the command line shows their one line and exits 2."""

from collections.abc import Iterable


def printable(text: str) -> str:
    """One line without control characters: names of files and texts of headers may hold line ends and escape codes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def did_you_mean(word: str, known: Iterable[str], these: str = "they") -> str:
    """The end of a message about an unknown word: "did you mean fast?", or where none is near "these are ..."."""
    from difflib import get_close_matches

    names = list(known)
    near = get_close_matches(word, names, 1, 0.5)
    return f"did you mean {near[0]}?" if near else f"{these} are {', '.join(names) or 'none'}"


class DeformganError(Exception):
    """Something a user can mend; the message names what, what was expected, what came, and the next step."""

    def __str__(self) -> str:
        return printable(super().__str__())


class InputError(DeformganError):
    """A file or an argument is missing, damaged or not what was asked for."""


def check_choice(what: str, word: str, choices: Iterable[str]) -> None:
    """Raise InputError where `word` is none of the choices; it names them all, and the nearest."""
    names = list(choices)
    if word not in names:
        near = did_you_mean(word, names)
        hint = f"; {near}" if near.endswith("?") else ""
        raise InputError(f"{what} must be one of {', '.join(names)}; got {word!r}{hint}")


class OutputError(DeformganError):
    """The result cannot be written where it was asked for."""


class RegistrationError(DeformganError):
    """The images cannot be registered (no overlap, no contrast, a non-finite loss)."""
