"""Put a run's best weights into the package: ship_model.py RUN NAME

Writes deformgan/weights/NAME.safetensors without the paths of the machine that trained it. The card, NAME.md beside it
(data, licence, split, settings, figures, limits), is for a person to write.
"""

import sys
from pathlib import Path

from deformgan.io.tensor_files import ENDING
from deformgan.registration.models import SHIPPED, load_model, save_model
from deformgan.training.steps import asks_for_generator


def main() -> None:
    run, name = sys.argv[1:]
    model = load_model(run)
    data, generated = model.config.data, model.config.generated
    bare = {
        "cache": Path("cache"),
        "manifest": data.manifest and Path(data.manifest.name),
        "fixed_images": tuple(Path(p).name for p in data.fixed_images),
        "moving_images": tuple(Path(p).name for p in data.moving_images),
    }
    config = model.config.model_copy(
        update={
            "name": name,
            "out": None,
            "start": None,
            "data": data.model_copy(update=bare),
            "generated": generated.model_copy(update={"label_maps": tuple(Path(p).name for p in generated.label_maps)}),
        }
    )
    learned = {"transformation."}
    if generated.share < 1 and asks_for_generator(config.loss):
        learned |= {"generator.", "discriminator."}
    tensors = {k: t for k, t in model.tensors.items() if k.startswith(tuple(learned))}
    SHIPPED.mkdir(exist_ok=True)
    place = SHIPPED / f"{name}{ENDING}"
    save_model(place, tensors, config, model.figures)
    print(f"{place}: {place.stat().st_size / 2**20:.1f} MiB; write {place.with_suffix('.md').name} beside it")


if __name__ == "__main__":
    main()
