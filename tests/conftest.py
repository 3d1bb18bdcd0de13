"""Make tests/phantoms.py importable wherever a test stands; give every test the locale that the run began with."""

import locale
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
BEGAN_WITH = locale.setlocale(locale.LC_ALL)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Writing DICOM by SimpleITK, as fixtures and tests do, leaves the C locale behind; before any fixture."""
    locale.setlocale(locale.LC_ALL, BEGAN_WITH)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item):
    """The same, after all fixtures."""
    locale.setlocale(locale.LC_ALL, BEGAN_WITH)
