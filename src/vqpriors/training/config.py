"""The params of training: `train`, the `train` sections of the stages, and `runtime`."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, ValidationInfo, field_validator

from vqpriors.core.hardware import Precision
from vqpriors.core.params import Params, Section
from vqpriors.trackers.base.background import TrackingConfig


def _batch_size(value: Any) -> int | Literal["auto"]:
    if value == "auto" or (type(value) is int and value >= 1):
        return value
    raise ValueError(f"must be a whole number of at least 1, or auto, got {value!r}")


class StageTrainConfig(Section):
    """`tokenizer.train`, `judge.train` or `prior.train` of params.yaml."""

    optimizer: Literal["adamw", "muon"]
    batch_size: Annotated[int | Literal["auto"], PlainValidator(_batch_size)]
    grad_accum_steps: int = Field(ge=1)
    warmup_steps: int = Field(ge=0)
    weight_decay: float = Field(ge=0)
    betas: list[Annotated[float, Field(ge=0, lt=1)]] = Field(min_length=2, max_length=2)
    ema_decay: float = Field(ge=0, lt=1)


class SharedTrainConfig(Section):
    """`train` of params.yaml, which all training stages share."""

    clip_norm: float = Field(gt=0)
    min_lr_ratio: float = Field(ge=0, le=1)
    precision: Precision
    compile: bool
    compile_layers: bool
    log_steps: int = Field(ge=1)

    @field_validator("compile_layers")
    @classmethod
    def _is_alone(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("compile"):
            raise ValueError("must be false with compile, which compiles all layers; change one")
        return value


@dataclass(frozen=True)
class TrainConfig:
    """The training params of one stage.

    Attributes:
        shared: `train` of params.yaml.
        stage: The stage's own section.
        section: Params key of that section, for error messages, such as "prior.train".
    """

    shared: SharedTrainConfig
    stage: StageTrainConfig
    section: str


class RuntimeConfig(Section):
    """`runtime` of params.yaml: params that change no result, so that no stage declares them.

    Attributes:
        checkpoint_steps: Steps between checkpoints; 0 for none by steps.
        checkpoint_seconds: Seconds between checkpoints, more if saving takes over 2% of them; 0
            saves one at every log.
        resume: Whether to resume from a checkpoint: "auto" where there is one, "required", "never".
        tracking: The trackers that are on.
    """

    checkpoint_steps: int = Field(ge=0)
    checkpoint_seconds: float = Field(ge=0)
    resume: Literal["auto", "required", "never"]
    tracking: TrackingConfig


def read_train_config(params: Params, section: str) -> TrainConfig:
    """Read a stage's training params, `section` of params.yaml and the shared `train`.

    Raises:
        ValueError: As `Params.section`.
    """
    shared = params.section("train", SharedTrainConfig)
    return TrainConfig(shared, params.section(section, StageTrainConfig), section)
