"""What accelerate's launcher asks of a run: to share out the model by FSDP, version 2.

Its answer is read from the variables that the launcher sets. What is asked for in vain is refused
rather than passed over.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

ASKS = "ACCELERATE_USE_FSDP"
_OTHERS = {"ACCELERATE_USE_DEEPSPEED": "DeepSpeed", "ACCELERATE_USE_MEGATRON_LM": "Megatron"}
_FIX = "use FSDP version 2 (--use_fsdp --fsdp_version 2) or plain data parallelism"

# Options of the launcher, and the only values with which a run does what they say. Those about how
# accelerate saves (--fsdp_state_dict_type) and loads do not apply: checkpoints are of whole models.
_ONLY = {
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
    "ACCELERATE_DYNAMO_BACKEND": ("no",),
    "ACCELERATE_USE_PARALLELISM_CONFIG": ("false",),
}


@dataclass(frozen=True)
class Request:
    """A launch's wish to share out the model.

    Attributes:
        reshard_after_forward: Whether gathered weights are let go between a layer's forward and
            its backward pass.
    """

    reshard_after_forward: bool


def requested(variables: Mapping[str, str]) -> Request | None:
    """Read what a launch asks for; None where each process is to hold the whole model.

    Args:
        variables: The environment.

    Raises:
        ValueError: If it asks for what is not offered.
    """
    for name, title in _OTHERS.items():
        if _is_on(variables, name):
            raise ValueError(f"LAUNCH: {title} is not supported; {_FIX}")
    if not _is_on(variables, ASKS):
        return None
    if (version := variables.get("FSDP_VERSION", "1")) != "2":
        raise ValueError(f"LAUNCH: FSDP version {version} is not supported; add --fsdp_version 2")
    for name, values in _ONLY.items():
        if (found := variables.get(name, "")) and found.lower() not in values:
            expected = " or ".join(values) or "unset"
            raise ValueError(
                f"LAUNCH: {name} must be {expected} with FSDP here, got {found!r}; "
                "change it in accelerate's config or options"
            )
    return Request(variables.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower() == "true")


def require_supported(*, is_compiled: bool, batch_size: int | str, precision: str) -> None:
    """Raise a ValueError where a `train` section asks for what does not go with FSDP."""
    if is_compiled:
        raise ValueError("train.compile: does not go with FSDP; set it to false")
    if batch_size == "auto":
        raise ValueError(
            "train.batch_size: auto measures a whole model, which FSDP shares out; give a number"
        )
    if precision == "fp16":
        raise ValueError(
            "train.precision: fp16 and its scaled losses do not go with FSDP; set it to bf16 or no"
        )


@contextmanager
def unasked() -> Iterator[None]:
    """Hide the wish from accelerate, which then takes the processes for plain ones.

    It would share out the model itself, on GPUs alone, and by means that know nothing of averaged
    weights: so GPUs and CPUs take the same path, one that can be tried without a GPU.
    """
    found = os.environ.pop(ASKS, None)
    try:
        yield
    finally:
        if found is not None:
            os.environ[ASKS] = found


def load_whole() -> None:
    """Have transformers read frozen models in every process.

    By the launcher's default it leaves those of all but the first empty, for accelerate to fill.
    """
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"


def _is_on(variables: Mapping[str, str], name: str) -> bool:
    return variables.get(name, "false").lower() in ("true", "1")
