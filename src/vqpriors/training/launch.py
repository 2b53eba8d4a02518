"""Options of accelerate's launcher, read from the environment variables that it sets.

Unsupported options raise an error instead of being ignored, and those that params.yaml decides.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from vqpriors.training.config import TrainConfig

FSDP_ENV = "ACCELERATE_USE_FSDP"
_UNSUPPORTED = {"ACCELERATE_USE_DEEPSPEED": "DeepSpeed", "ACCELERATE_USE_MEGATRON_LM": "Megatron"}
_FIX = "use FSDP version 2 (--use_fsdp --fsdp_version 2) or plain data parallelism"

# Options that params decide, the values that change nothing, and the param.
_DECIDED = {
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": (("1",), "grad_accum_steps of the stage"),
    "ACCELERATE_DYNAMO_BACKEND": (("no",), "train.compile"),
}

# Options with FSDP and their supported values. Options about how accelerate saves
# (--fsdp_state_dict_type) and loads have no effect: checkpoints hold full models.
_SUPPORTED = {
    "FSDP_OFFLOAD_PARAMS": ("false",),
    "FSDP_ACTIVATION_CHECKPOINTING": ("false",),
    "FSDP_ACTIVATION_CHECKPOINTING_OFFLOAD": ("false",),
    "FSDP_FORWARD_PREFETCH": ("false",),
    "FSDP_USE_ORIG_PARAMS": ("true",),
    "FSDP_SHARDING_STRATEGY": ("full_shard", "1"),
    "FSDP_RESHARD_AFTER_FORWARD": ("true", "false"),
    "FSDP_BACKWARD_PREFETCH": ("backward_pre",),
    "FSDP_AUTO_WRAP_POLICY": ("transformer_based_wrap",),
    "FSDP_TRANSFORMER_CLS_TO_WRAP": ("block",),
    "FSDP_IGNORED_MODULES": (),
    "ACCELERATE_USE_PARALLELISM_CONFIG": ("false",),
}


@dataclass(frozen=True)
class FSDPSettings:
    """How to shard a model.

    Attributes:
        reshard_after_forward: Whether to free gathered weights between a layer's forward and its
            backward pass.
    """

    reshard_after_forward: bool


def fsdp_settings_from_env(variables: Mapping[str, str]) -> FSDPSettings | None:
    """Read the launcher's FSDP settings; None without FSDP.

    Args:
        variables: The environment.

    Raises:
        ValueError: If an option is not supported.
    """
    for name, title in _UNSUPPORTED.items():
        if _is_on(variables, name):
            raise ValueError(f"LAUNCH: {title} is not supported; {_FIX}")
    for name, (values, param) in _DECIDED.items():
        if (found := variables.get(name, "")) and found.lower() not in values:
            raise ValueError(
                f"LAUNCH: {name} must be {values[0]} or unset, got {found!r}; set {param} instead"
            )
    if not _is_on(variables, FSDP_ENV):
        return None
    if (version := variables.get("FSDP_VERSION", "1")) != "2":
        raise ValueError(f"LAUNCH: FSDP version {version} is not supported; add --fsdp_version 2")
    for name, values in _SUPPORTED.items():
        if (found := variables.get(name, "")) and found.lower() not in values:
            expected = " or ".join(values) or "unset"
            raise ValueError(
                f"LAUNCH: {name} must be {expected} with FSDP here, got {found!r}; "
                "change it in accelerate's config or options"
            )
    return FSDPSettings(variables.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower() == "true")


def require_supported(config: TrainConfig, *, precision: str) -> None:
    """Raise a ValueError if training params do not work with FSDP.

    Args:
        config: The training params.
        precision: As resolved on this device.
    """
    if config.shared.compile:
        raise ValueError("train.compile: does not work with FSDP; set it to false")
    if config.stage.batch_size == "auto":
        raise ValueError(
            f"{config.section}.batch_size: auto does not work with FSDP, because it measures an "
            "unsharded model; set a number"
        )
    if precision == "fp16":
        raise ValueError(
            "train.precision: fp16 does not work with FSDP, because it scales losses; set it to "
            "bf16 or no"
        )


@contextmanager
def hide_fsdp_env() -> Iterator[None]:
    """Temporarily unset ACCELERATE_USE_FSDP, so that Accelerate does not wrap the model.

    Accelerate shards models only on GPUs and leaves averaged weights out. sharding.py shards both,
    on GPUs and CPUs alike, so that the tests can run the same code without a GPU.
    """
    found = os.environ.pop(FSDP_ENV, None)
    try:
        yield
    finally:
        if found is not None:
            os.environ[FSDP_ENV] = found


def disable_ram_efficient_loading() -> None:
    """Have transformers load frozen models in every process.

    By the launcher's default it loads them only in the first and expects accelerate to broadcast.
    """
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"


def _is_on(variables: Mapping[str, str], name: str) -> bool:
    return variables.get(name, "false").lower() in ("true", "1")
