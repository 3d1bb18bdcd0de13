"""YAML -> the configuration of a task.  A mistake is one line: file, line, key, why."""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from deformgan.config.registration import TrainConfig
from deformgan.config.segmentation import SegmentationConfig
from deformgan.config.synthesis import ConditionalConfig, CycleganConfig
from deformgan.errors import InputError
from deformgan.io.tables import read_text

Experiment = TrainConfig | CycleganConfig | ConditionalConfig | SegmentationConfig
TASKS: dict[str, type[Experiment]] = {
    "registration": TrainConfig,
    "cyclegan": CycleganConfig,
    "conditional": ConditionalConfig,
    "segmentation": SegmentationConfig,
}


def load_config(path: str | os.PathLike[str]) -> Experiment:
    """The experiment in a YAML file, its relative data paths made absolute; the key `task` says of which kind.

    Raises InputError with one line that names file, line, key and reason.
    """
    place = Path(path)
    text = read_text(place)
    try:
        tree, raw = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        raise InputError(f"{place}{line}: not YAML: {reason}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: not YAML that can be read: its numbers or its depth are beyond all use") from error
    if not isinstance(raw, dict):
        raise InputError(f"{place}: expected keys and values, such as 'name: my_run'")
    task = str(raw.get("task", "registration"))
    if task not in TASKS:
        line = f":{_line_of(tree, ['task'])}"
        raise InputError(f"{place}{line}: task: no such task {task!r}{_hint(task, list(TASKS), 'tasks are')}")
    try:
        config = TASKS[task].model_validate(raw)
    except ValidationError as error:
        raise InputError(_one_line(place, tree, error, TASKS[task])) from error
    return config.seen_from(place.resolve().parent)


def dump_config(config: Experiment) -> str:
    """The whole configuration, defaults included, as YAML."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def read_dumped(path: Path) -> Experiment:
    """What `dump_config` wrote; keys that it did not know yet have their defaults.  Raises InputError."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        return TASKS[raw.get("task", "registration")].model_validate(raw)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError, AttributeError, KeyError) as error:
        raise InputError(f"{path}: cannot be read as the configuration of a run") from error


def config_of_model(text: str, name: str) -> Experiment:
    """The configuration, JSON, that a model file carries.  Raises InputError."""
    try:
        raw = json.loads(text)
        return TASKS[raw.get("task", "registration")].model_validate(raw)
    except (ValueError, AttributeError, KeyError) as error:  # pydantic's is a ValueError
        raise InputError(f"{name}: its configuration cannot be read; was it made by a newer version?") from error


def _one_line(path: Path, tree: Any, error: ValidationError, model: Any) -> str:
    first = error.errors()[0]
    keys = [str(k) for k in first["loc"]]
    what = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        for key in keys[:-1]:
            model = model.model_fields[key].annotation
        what = "unknown key" + _hint(keys[-1], list(model.model_fields), "keys here are")
    elif first["type"] == "missing":
        what = "is missing"
    elif not isinstance(first["input"], dict):
        what += f"; got {first['input']!r}"
    name = ".".join(keys)
    return f"{path}:{_line_of(tree, keys)}: {name + ': ' if name else ''}{what}"


def _hint(word: str, known: list[str], these: str) -> str:
    close = difflib.get_close_matches(word, known, 1, 0.5)
    return f"; did you mean {close[0]}?" if close else f"; the {these} {', '.join(known)}"


def _line_of(node: Any, keys: list[str]) -> int:
    """Line (from 1) of the key, or of the deepest part of it that the file has."""
    line = int(node.start_mark.line) + 1
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                if name.value == key:
                    line, node = int(name.start_mark.line) + 1, value
                    break
            else:
                return line
        elif isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
            node = node.value[int(key)]
            line = int(node.start_mark.line) + 1
        else:
            return line
    return line
