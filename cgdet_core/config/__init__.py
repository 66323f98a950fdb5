"""Every default, once. Read from YAML; an unknown key or a value out of range is one clear line.

A recipe file holds any subset of `Recipe`'s keys; `key=value` words of a command line (dotted
paths, YAML values) are laid over it.
"""

from cgdet_core.config.augmentation import AugmentConfig, LookConfig, SensorConfig
from cgdet_core.config.bags import LabelConfig, RegisterConfig, SyntheticConfig
from cgdet_core.config.detector import Activation, ModelConfig, PostprocessConfig, ThermalConfig
from cgdet_core.config.landmarks import (
    FaceAugmentConfig,
    LandmarkLossConfig,
    LandmarkModelConfig,
    LandmarkPostprocessConfig,
)
from cgdet_core.config.reading import load_recipe, load_stages, read_mapping, settings_from_mapping, settings_from_words
from cgdet_core.config.settings import Settings
from cgdet_core.config.terms import (
    AssignerConfig,
    ContrastConfig,
    GuidanceConfig,
    InjectionConfig,
    LossConfig,
    OutputsConfig,
    TapConfig,
    TeacherConfig,
    TermConfig,
)
from cgdet_core.config.training import (
    NetworkConfig,
    OfTask,
    Recipe,
    SourceConfig,
    SyntheticSourceConfig,
    TaskName,
    TrainConfig,
)
