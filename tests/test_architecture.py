"""Who may import whom: the rules of docs/architecture.md, checked on every import statement."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "deformgan"
ORDER = [
    "kernels",
    "io",
    "spatial",
    "warping",
    "similarity",
    "networks",
    "report",
    "registration",
    "training",
    "synthesis",
    "segmentation",
    "evaluation",
    "study",
    "cohort",
    "cli",
]
OPEN = {"errors", "config", "cost"}
HOMES = {
    "nibabel": {"io"},
    "SimpleITK": {"io"},
    "nitransforms": {"io"},
    "itk": {"io"},
    "h5py": {"io"},
    "isal": {"io"},
    "monai": {"io", "networks", "training", "monai"},
    "numba": {"kernels"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
    "markupsafe": {"report"},
    "PIL": {"report"},
    "yaml": {"config"},
    "pydantic": {"config"},
    "safetensors": {"io"},
    "accelerate": {"training"},
    "typer": {"cli"},
    "rich": {"cli"},
    "bids": {"io"},
    "dask": {"cohort"},
    "distributed": {"cohort"},
    "dask_jobqueue": {"cohort"},
    "filelock": {"cohort"},
}
LONGEST = 320


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield str(node.module)


def faults(path: Path, package: Path) -> list[str]:
    """What is wrong in one module, a line each."""
    tree, parts = ast.parse(path.read_text()), path.relative_to(package).with_suffix("").parts
    folder = parts[0]
    found = []
    for name in imports(tree):
        top, *rest = name.split(".")
        if top == "deformgan" and rest and rest[0] not in OPEN and folder in ORDER:
            if folder != "kernels" and ORDER.index(rest[0]) > ORDER.index(folder):
                found.append(f"{folder} imports {name}, which stands to its right")
            if folder in ("similarity", "networks") and rest[0] == "io":
                found.append(f"{folder} takes tensors and must not import {name}")
            if folder == "kernels" and rest[0] != "kernels":
                found.append(f"kernels import nothing of ours: {name}")
        if top == "torch" and folder == "kernels":
            found.append("kernels know numpy only")
        if top in HOMES and folder not in HOMES[top]:
            found.append(f"{top} belongs in {', '.join(sorted(HOMES[top]))}, not in {folder}")
    if folder != "cli":
        calls = [n.func for n in ast.walk(tree) if isinstance(n, ast.Call)]
        found += ["print outside cli" for f in calls if isinstance(f, ast.Name) and f.id in ("print", "exit")]
        attributes = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)]
        found += [f"sys.{n.attr} outside cli" for n in attributes if n.value.id == "sys" and n.attr in ("exit", "argv")]
    if len(path.read_text().splitlines()) > LONGEST:
        found.append(f"longer than {LONGEST} lines")
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_module_keeps_the_rules(path):
    assert faults(path, PACKAGE) == []


def test_every_folder_has_its_place():
    folders = {p.parent.name for p in PACKAGE.glob("*/*.py")}
    assert folders <= set(ORDER) | OPEN


@pytest.mark.parametrize(
    ("folder", "line"),
    [
        ("kernels", "import torch"),
        ("kernels", "from deformgan.io.geometry import Geometry"),
        ("io", "from deformgan.spatial.warp import warp"),
        ("similarity", "def f():\n    from deformgan.io.volume import Volume"),
        ("registration", "import SimpleITK as sitk"),
        ("spatial", "print('x')"),
        ("spatial", "import sys\nsys.exit(1)"),
        ("io", "x = 1\n" * 400),
    ],
)
def test_a_planted_fault_is_found(tmp_path, folder, line):
    path = tmp_path / folder / "bad.py"
    path.parent.mkdir()
    path.write_text(line + "\n")
    assert len(faults(path, tmp_path)) == 1
