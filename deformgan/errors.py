"""Errors that a user can cause; the command line shows their one line and exits 2."""


def printable(text: str) -> str:
    """One line without control characters: names of files and texts of headers may hold line ends and escape codes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class DeformganError(Exception):
    """Something a user can mend; the message names what, what was expected, what came, and the next step."""

    def __str__(self) -> str:
        return printable(super().__str__())


class InputError(DeformganError):
    """A file or an argument is missing, damaged or not what was asked for."""


class OutputError(DeformganError):
    """The result cannot be written where it was asked for."""


class RegistrationError(DeformganError):
    """The images cannot be registered (no overlap, no contrast, a non-finite loss)."""
