"""train(): store the labelled people, then step by step Dice and cross-entropy; the rest as for registration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from deformgan.config import SegmentationConfig
from deformgan.registration.progress import Show, silent
from deformgan.segmentation.batches import Batch, Source
from deformgan.segmentation.loss import dice_counts, loss_terms
from deformgan.segmentation.models import NETWORK, build_network, save_model
from deformgan.segmentation.people import store_people
from deformgan.synthesis.models import SynthesisModel
from deformgan.synthesis.models import load_model as load_synthesis
from deformgan.training.players import Players, Rates, Terms
from deformgan.training.run import Losses, Run, accelerator_for, begun, play, run_folder


def train(config: SegmentationConfig, *, resume: bool = False, overwrite: bool = False, show: Show = silent) -> Run:
    """Train as configured; the model with the best Dice on held-out people lies in FOLDER/model.safetensors.

    In a fold of a cross-validation the people held out are those to be tested: there the newest model counts.
    All else is as for registration: see `deformgan.training.loop.train`.
    """
    accelerator = accelerator_for(config)
    synthesis = None if config.data.synthesis is None else load_synthesis(str(config.data.synthesis))
    device, chosen = str(accelerator.device), config.optimiser
    with run_folder(config, accelerator, resume=resume, overwrite=overwrite):
        people = begun(
            config, accelerator, lambda tell: store_people(config, synthesis, device=device, show=tell), show
        )
        rates = Rates({NETWORK: chosen.rate}, chosen.betas, chosen.decay, chosen.clip)
        players = Players.with_rates({NETWORK: build_network(config)}, rates, accelerator)
        return play(config, Segmentation(config, Source(config, people), players, synthesis), resume=resume, show=show)


class Segmentation:
    """The task: one network.  It remembers nothing beside it."""

    turns = "S"

    def __init__(
        self, config: SegmentationConfig, source: Source, players: Players, synthesis: SynthesisModel | None
    ) -> None:
        self.players = players
        self._config, self._source, self._synthesis = config, source, synthesis
        self._held_out = source.validation() if players.accelerator.is_main_process else {}

    def learn(self, step: int) -> Losses:
        """One step on this process' share of the batch."""
        accelerator, weights = self.players.accelerator, self._config.loss.model_dump()
        drawn = self._source.batches(step, accelerator.process_index, accelerator.num_processes)

        def terms(batch: Batch) -> Terms:
            found = loss_terms(self.players.play(NETWORK, batch.image), batch.codes)
            return {name: value for name, value in found.items() if weights[name]}

        return {"s": self.players.learn(NETWORK, terms, [b.to(accelerator.device) for b in drawn], weights)}

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Dice of every structure that the held-out people have, and the mean, by the kind of their real image."""
        self.players.network(NETWORK).eval()
        figures: dict[str, float] = {}
        for kind, batches in self._held_out.items():
            both, found, truth = self._counts(batches).double()
            dice = {
                name: float(2 * b / (f + t))
                for name, b, f, t in zip(self._config.structures, both, found, truth, strict=True)
                if t > 0
            }
            if dice:
                mean = sum(dice.values()) / len(dice)
                figures |= {f"{kind}_dice": mean} | {f"{kind}_dice_{name}": value for name, value in dice.items()}
        return figures

    def score(self, figures: dict[str, float]) -> float | None:
        """1 - Dice on the kind of image that is trained on, or else on the other; None in a fold."""
        data = self._config.data
        if data.folds:
            return None
        found = [figures[name] for kind in (data.trained_on, *data.channels) if (name := f"{kind}_dice") in figures]
        return 1 - found[0] if found else None

    def keep(self, place: Path, figures: dict[str, float]) -> None:
        """Write the network and the generators that it needs."""
        save_model(place, self.players.weights(), self._config, figures, self._synthesis)

    def memory(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def recall(self, memory: Mapping[str, Tensor]) -> None:
        """Nothing."""

    @torch.no_grad()
    def picture(self) -> tuple[str, Tensor] | None:
        """The channels, the labels and what was found, side by side, where there is most to be found."""
        batches = [batch for part in self._held_out.values() for batch in part]
        if not batches:
            return None
        batch = max(batches, key=lambda b: int((b.codes > 0).sum()))
        self.players.network(NETWORK).eval()
        pictures = [*(batch.image[0] + 1) / 2]
        pictures += [c[0] / len(self._config.structures) for c in (batch.codes, self._found(batch).cpu())]
        return "channels_labels_found", torch.cat(pictures, -1)[None]

    def _found(self, batch: Batch) -> Tensor:
        return self.players.play(NETWORK, batch.image.to(self.players.accelerator.device)).argmax(1)

    def _counts(self, batches: Sequence[Batch]) -> Tensor:
        classes = 1 + len(self._config.structures)
        counts = [dice_counts(self._found(b).cpu(), b.codes, classes) for b in batches]
        return torch.stack(counts).sum(0)
