"""Schema of training phases (a curriculum) in params.yaml."""

from typing import Annotated

from pydantic import Field, field_validator

from vqpriors.core.params import Section

Option = bool | int | float | str
StartEnd = Annotated[list[float], Field(min_length=2, max_length=2)]


class Phase(Section):
    """A number of training epochs with their own learning rate schedule.

    Attributes:
        epochs: Passes over the training split.
        lr: Peak learning rate.
        frozen: Names of submodules that are not trained.
        weights: Weights of losses by name, at least 0; 1 for a loss that is not listed.
        options: Keyword arguments of the model's `begin_phase`.

    A pair [start, end] of numbers among weights and options is annealed: interpolated linearly from
    the first to the last step of the phase.
    """

    epochs: int = Field(ge=1)
    lr: float = Field(gt=0)
    frozen: list[str]
    weights: dict[str, float | StartEnd]
    options: dict[str, Option | StartEnd]

    @field_validator("weights")
    @classmethod
    def _check(cls, weights: dict[str, float | list[float]]) -> dict[str, float | list[float]]:
        for name, value in weights.items():
            if min(value if isinstance(value, list) else [value]) < 0:
                raise ValueError(f"that of {name!r} must be at least 0, got {value}")
        return weights

    @property
    def is_annealed(self) -> bool:
        """Whether an option changes from step to step."""
        return any(isinstance(value, list) for value in self.options.values())

    def options_at(self, fraction: float) -> dict[str, Option]:
        """Return the options at a point of the phase.

        Args:
            fraction: 0 at the first step of the phase, 1 at the last.
        """
        return {name: _at(fraction, value) for name, value in self.options.items()}

    def weights_at(self, fraction: float) -> dict[str, float]:
        """Return the weights of losses at a point of the phase; see `options_at`."""
        return {name: float(_at(fraction, value)) for name, value in self.weights.items()}


def _at(fraction: float, value: Option | list[float]) -> Option:
    if isinstance(value, list):
        return value[0] * (1 - fraction) + value[1] * fraction
    return value
