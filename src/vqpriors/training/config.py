"""The params of training: `runtime` and the `train` sections of params.yaml."""

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from vqpriors.core.hardware import Precision
from vqpriors.core.params import Section
from vqpriors.trackers.base.background import TrackingConfig


def _batch_size(value: Any) -> int | Literal["auto"]:
    if value == "auto" or (type(value) is int and value >= 1):
        return value
    raise ValueError(f"must be a whole number of at least 1, or auto, got {value!r}")


class TrainConfig(Section):
    """A `train` section of params.yaml."""

    optimizer: Literal["adamw", "muon"]
    batch_size: Annotated[int | Literal["auto"], PlainValidator(_batch_size)]
    grad_accum_steps: int = Field(ge=1)
    warmup_steps: int = Field(ge=0)
    min_lr_ratio: float = Field(ge=0, le=1)
    weight_decay: float = Field(ge=0)
    betas: list[Annotated[float, Field(ge=0, lt=1)]] = Field(min_length=2, max_length=2)
    clip_norm: float = Field(gt=0)
    ema_decay: float = Field(ge=0, lt=1)
    precision: Precision
    compile: bool
    log_steps: int = Field(ge=1)


class RuntimeConfig(Section):
    """`runtime` of params.yaml: params that change no result, so that no stage declares them.

    Attributes:
        checkpoint_steps: Steps between checkpoints; 0 for none by steps.
        checkpoint_seconds: Seconds between checkpoints.
        resume: Whether to resume from a checkpoint: "auto" where there is one, "required", "never".
        tracking: The trackers that are on.
    """

    checkpoint_steps: int = Field(ge=0)
    checkpoint_seconds: float = Field(ge=0)
    resume: Literal["auto", "required", "never"]
    tracking: TrackingConfig
