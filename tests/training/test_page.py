"""report.html of a run: what is beyond its step goes, and where drawing is impossible training goes on without."""

import re

import torch
from accelerate import Accelerator

from deformgan.training import page
from deformgan.training.history import History


def test_pictures_from_beyond_the_step_go_and_the_rest_is_shown(experiment):
    config = experiment()
    config.folder.mkdir()
    History(config.folder, 0).close()
    first = page.Page(config, 0)
    for step in (3, 6, 9):
        first.picture(step, "fixed_warped", torch.rand(1, 8, 16))
    again = page.Page(config, 6)
    again.write(6, Accelerator(cpu=True))
    text = (config.folder / page.PAGE).read_text()
    assert re.findall(r'data-step="(\d+)"', text) == ["3", "6"] and "fixed, warped" in text
    assert [p.name for p in sorted((config.folder / page.PICTURES).iterdir())] == [
        "fixed_warped.00000003.jpg",
        "fixed_warped.00000006.jpg",
    ]


def test_without_what_drawing_needs_there_is_no_page(experiment, monkeypatch):
    monkeypatch.setattr(page, "_NEEDS", ("no_such_package",))
    config = experiment()
    config.folder.mkdir()
    none = page.Page(config, 0)
    none.picture(1, "fixed", torch.rand(1, 8, 8))
    none.write(1, Accelerator(cpu=True))
    assert list(config.folder.iterdir()) == []
