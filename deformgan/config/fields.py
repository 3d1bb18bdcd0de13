"""What the configuration of every task is made of: kinds of numbers, a frozen model, the steps of a run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, lt=float("inf"))]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, lt=float("inf"))]
Channels = Annotated[tuple[Count, ...], Field(min_length=2, max_length=8)]
Window = Annotated[int, Field(ge=3, le=31)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Seed = Annotated[int, Field(ge=0)]
Adversarial = Literal["least_squares", "logistic", "hinge"]


class Frozen(BaseModel):
    """A model that knows all its keys and stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingConfig(Frozen):
    """steps of batch pairs each, made of `accumulate` parts on each process; precision of the networks."""

    steps: Count = 1000
    batch: Count = 1
    accumulate: Count = 1
    precision: Literal["no", "bf16"] = "no"
    device: Literal["auto", "cpu"] = "auto"
    validate_every: Count = 200
    save_every: Count = 200
    keep: Count = 3
    pictures: bool = True

    def parts(self, process: int, processes: int) -> list[range]:
        """Positions of one process' `accumulate` parts in the batch that all processes fill together."""
        share = self.batch // (processes * self.accumulate)
        first = process * self.accumulate * share
        return [range(first + k * share, first + (k + 1) * share) for k in range(self.accumulate)]
