"""Make tests/phantoms.py importable wherever a test stands; give every test the locale that the run began with."""

import locale
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def same_locale():
    """Writing DICOM by SimpleITK, as tests do, leaves the C locale behind."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)
