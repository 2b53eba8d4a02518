"""Sampling settings: the defaults of a generator and the options of a call."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from vqpriors.core.hardware import Precision
from vqpriors.core.params import Kind, Section, check
from vqpriors.core.params_file import find_error
from vqpriors.core.registry import load_kind
from vqpriors.inference.arguments import to_integer, to_number, to_texts
from vqpriors.inference.bundle import SETTINGS
from vqpriors.inference.limits import require_options, require_prompts
from vqpriors.sampling.base.captioning import CaptionConfig
from vqpriors.sampling.base.choosing import choose_sampler


class SamplingDefaults(Section):
    """The keys of `sample` in params.yaml that a generator needs."""

    sampler: str
    steps: int = Field(ge=1)
    guidance: float = Field(ge=0)
    batch_size: int = Field(ge=1)
    precision: Precision
    compile: bool
    captions: CaptionConfig


_TYPES = {"steps": to_integer, "temperature": to_number, "guidance": to_number}


@dataclass(frozen=True)
class SamplingOptions:
    """Sampling options of a call; None takes the default.

    Attributes:
        steps: Decoding steps; for masked priors only.
        temperature: Divides the logits.
        guidance: Scale s of u + s(c - u) on the logits; 1 means no guidance.
        seed: The same call with the same seed gives the same pictures.
    """

    steps: int | None = None
    temperature: float | None = None
    guidance: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise a ValueError that names the option that is of another type or out of range."""
        values: dict[str, Any] = {"seed": to_integer("seed", self.seed)}
        for name, convert in _TYPES.items():
            if (value := getattr(self, name)) is not None:
                values[name] = convert(name, value)
        for name, value in values.items():
            object.__setattr__(self, name, value)
        require_options(
            steps=self.steps, temperature=self.temperature, guidance=self.guidance, seed=self.seed
        )


def repeat_prompts(prompt: str | Sequence[str], num_samples: int) -> list[str]:
    """Repeat each prompt `num_samples` times.

    Raises:
        ValueError: If that gives no pictures or too many, a prompt is too long, or either is of
            another type.
    """
    prompts, num_samples = to_texts("prompt", prompt), to_integer("num_samples", num_samples)
    require_prompts(prompts, num_samples)
    return [each for each in prompts for _ in range(num_samples)]


def settings_as_params(defaults: SamplingDefaults, sampler: Kind) -> dict[str, Any]:
    """Return the defaults and the sampler's settings as a section like `sample` of params.yaml."""
    shared = defaults.model_dump(include=set(SamplingDefaults.model_fields))
    return shared | {sampler.name: sampler.config.model_dump()}


def settings_besides_options(defaults: SamplingDefaults, sampler: Kind) -> dict[str, Any]:
    """Return what pictures depend on besides the options of a call, without temperatures."""
    config = sampler.config.model_dump(exclude=set(sampler.module.TEMPERATURES))
    return {
        "sampler": sampler.name,
        **config,
        "precision": defaults.precision,
        "compile": defaults.compile,
    }


def read_settings(folder: Path, primitive: str) -> tuple[SamplingDefaults, Kind]:
    """Read the sampling defaults and the sampler of a folder's parts.

    Args:
        folder: A folder with settings.json, or one beside a checkout's params.yaml.
        primitive: The prior's primitive: "stepwise" or "masked".

    Raises:
        ValueError: If there is no such file, or its values are missing or out of range.
    """
    from ruamel.yaml import YAML, YAMLError  # DVC reads params.yaml with it, too

    path = folder / SETTINGS
    if not path.is_file():
        path = folder.absolute().parent / "params.yaml"
    try:
        values = YAML(typ="safe").load(path)["sample"]
        values = {"compile": False} | values  # models of earlier versions do not say
        own = {name: values[name] for name in SamplingDefaults.model_fields}
        defaults = check("sample", own, SamplingDefaults)
        sampler = choose_sampler(defaults.sampler, primitive)
        chosen = values[sampler]
    except FileNotFoundError:
        raise ValueError(f"{path}: not there; it holds the sampling settings") from None
    except YAMLError as error:
        raise ValueError(find_error(path) or f"{path}: {error}") from None
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: no settings of `sample` in it ({error}); correct it") from None
    module = load_kind("vqpriors.sampling", sampler, param="sample.sampler")
    return defaults, Kind(sampler, module, check(f"sample.{sampler}", chosen, module.Config))
