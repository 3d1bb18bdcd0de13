"""Errors that a user can cause; the command line shows their one line and exits 2."""


class DeformganError(Exception):
    """Something a user can mend; the message names what, what was expected, what came, and the next step."""


class InputError(DeformganError):
    """A file or an argument is missing, damaged or not what was asked for."""


class OutputError(DeformganError):
    """The result cannot be written where it was asked for."""


class RegistrationError(DeformganError):
    """The images cannot be registered (no overlap, no contrast, a non-finite loss)."""
