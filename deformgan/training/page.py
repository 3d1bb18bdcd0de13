"""The page of a run, report.html in its folder, and the pictures that it shows."""

from __future__ import annotations

import platform
from importlib.util import find_spec
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from deformgan import __version__
from deformgan.config import Experiment, dump_config
from deformgan.io.whole_file import whole_file
from deformgan.training.history import read_history

PAGE, PICTURES = "report.html", "pictures"
_NEEDS = ("jinja2", "PIL")
_LIBRARIES = ("torch", "accelerate", "numpy", "numba", "scipy", "nibabel", "monai")


class Page:
    """The page and its pictures; those beyond `step` (from before an interruption) go.

    Training does without what drawing needs: where that is missing, there is no page.
    """

    def __init__(self, config: Experiment, step: int) -> None:
        self._config, self._place = config, config.folder / PICTURES
        self._drawn = all(map(find_spec, _NEEDS))
        for then, path in self._pictures():
            if then > step:
                path.unlink()

    def picture(self, step: int, name: str, image: Tensor) -> None:
        """Keep one.  name: words with _ between.  image: (1, height, width) in [0, 1]."""
        if not self._drawn:
            return
        from deformgan.report.training import jpeg

        self._place.mkdir(exist_ok=True)
        with whole_file(self._place / f"{name}.{step:08d}.jpg") as scratch:
            scratch.write_bytes(jpeg(image[0].float().numpy()))

    def write(self, done: int, accelerator: Accelerator) -> None:
        """The page anew, after `done` steps; it appears whole or not at all.  Raises OutputError."""
        if not self._drawn:
            return
        from deformgan.report.training import RunPage, spread, training_page

        config, pictures = self._config, spread(self._pictures())
        text = training_page(
            RunPage(
                name=config.name,
                task=config.task,
                done=done,
                steps=config.training.steps,
                history=read_history(config.folder),
                pictures=[(step, path.read_bytes()) for step, path in pictures],
                shown=", ".join(pictures[-1][1].name.partition(".")[0].split("_")) if pictures else "",
                config=dump_config(config),
                environment=_environment(accelerator),
            )
        )
        with whole_file(config.folder / PAGE) as scratch:
            scratch.write_text(text, encoding="utf-8")

    def _pictures(self) -> list[tuple[int, Path]]:
        """(step, file), first to last."""
        return sorted((int(path.name.split(".")[-2]), path) for path in self._place.glob("*.????????.jpg"))


def _environment(accelerator: Accelerator) -> dict[str, str]:
    from deformgan.registration.outputs import versions_of

    device = accelerator.device
    return {
        "deformgan": __version__,
        "python": platform.python_version(),
        **versions_of(_LIBRARIES),
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "precision": accelerator.mixed_precision,
        "processes": str(accelerator.num_processes),
        "threads": str(torch.get_num_threads()),
    }
