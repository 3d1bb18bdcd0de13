"""Code that the method pages show is taken from the source when they are built: it must be there."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "site" / "hooks.py")
hooks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(hooks)
PAGES = sorted(p.name for p in (ROOT / "docs" / "methods").glob("*.md"))


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_is_in_the_source(page):
    for _, file, name in hooks.SOURCE.findall((ROOT / "docs" / "methods" / page).read_text()):
        assert re.search(r"^(def|class) \w+", hooks.source(file, name), re.MULTILINE)


def test_a_name_that_is_gone_is_said():
    with pytest.raises(LookupError, match=r"parzen.py has no nothing"):
        hooks.source("deformgan/kernels/parzen.py", "nothing")
