"""Names from a manifest that become folders: each stays inside the folder in which it is made, on every system."""

from __future__ import annotations

from pathlib import Path

from deformgan.errors import OutputError

_SEPARATING = set('/\\:*?"<>|')
_FORMULA = tuple("=+-@")  # a spreadsheet that opens the manifest written would compute such a cell
_LONGEST = 100  # bytes; file systems take 255 for a name, and a scratch name is longer
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}  # of Windows


def fault_of_folder_name(name: str) -> str | None:
    """Why a name cannot be that of a folder; None where it can."""
    if not name or not name.isprintable() or _SEPARATING & set(name):
        return "it is empty, or has a character that names of folders must not have"
    if name.startswith((".", *_FORMULA)):
        return "it begins with one of . = + - @"
    if name[-1] in ". " or name[0] == " " or name.split(".")[0].lower() in _DEVICES:
        return "it is reserved, or has a space or full stop at its end"
    return f"it is longer than {_LONGEST} bytes" if len(name.encode()) > _LONGEST else None


def check_not_elsewhere(folder: Path, name: str) -> None:
    """Refuse a link that stands where the folder is to be: it leads somewhere else.  Raises OutputError."""
    if (folder / name).is_symlink():
        raise OutputError(f"{folder / name} is a link and leads out of {folder}; remove it, or choose another --out")
