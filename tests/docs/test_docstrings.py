"""Every public name has an example in its docstring, and all examples run."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import deformgan

ROOT = Path(__file__).parents[2]
FINDER, FLAGS = doctest.DocTestFinder(recurse=True), doctest.NORMALIZE_WHITESPACE
MODULES = sorted({getattr(deformgan, name).__module__ for name in deformgan.__all__} | {"deformgan.losses"})


@pytest.mark.parametrize("name", deformgan.__all__)
def test_has_an_example(name):
    thing = getattr(deformgan, name)
    assert any(test.examples for test in FINDER.find(thing, name)), f"deformgan.{name} has no example"


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, monkeypatch):
    monkeypatch.chdir(ROOT)  # their paths are those of a clone
    module = import_module(name)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    for test in FINDER.find(module):
        runner.run(test, out=said.append)
    assert not runner.summarize(verbose=False).failed, "".join(said)
