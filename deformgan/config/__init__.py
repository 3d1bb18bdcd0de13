"""YAML -> validated, frozen models, one for each task.  An unknown key or a bad value is an InputError."""

from deformgan.config.fields import Adversarial, TrainingConfig
from deformgan.config.reading import Experiment, config_of_model, dump_config, load_config, read_dumped
from deformgan.config.registration import (
    AugmentationConfig,
    DataConfig,
    DiscriminatorConfig,
    GeneratedConfig,
    GeneratorConfig,
    GeneratorWeights,
    LossConfig,
    OptimiserConfig,
    TrainConfig,
    TransformationConfig,
    TransformationWeights,
)
from deformgan.config.segmentation import (
    SegmentationConfig,
    SegmentationDataConfig,
    SegmentationLossConfig,
    VariationConfig,
)
from deformgan.config.synthesis import (
    ConditionalConfig,
    ConditionalLossConfig,
    CycleganConfig,
    CycleganLossConfig,
    Plane,
    SynthesisConfig,
    SynthesisDataConfig,
    ViewConfig,
)

__all__ = [
    "Adversarial",
    "AugmentationConfig",
    "ConditionalConfig",
    "ConditionalLossConfig",
    "CycleganConfig",
    "CycleganLossConfig",
    "DataConfig",
    "DiscriminatorConfig",
    "Experiment",
    "GeneratedConfig",
    "GeneratorConfig",
    "GeneratorWeights",
    "LossConfig",
    "OptimiserConfig",
    "Plane",
    "SegmentationConfig",
    "SegmentationDataConfig",
    "SegmentationLossConfig",
    "SynthesisConfig",
    "SynthesisDataConfig",
    "TrainConfig",
    "TrainingConfig",
    "TransformationConfig",
    "TransformationWeights",
    "VariationConfig",
    "ViewConfig",
    "config_of_model",
    "dump_config",
    "load_config",
    "read_dumped",
]
