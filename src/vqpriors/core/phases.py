"""A curriculum as data: the phases of a training run, in the order of params.yaml."""

from pydantic import Field

from vqpriors.core.params import Section


class Phase(Section):
    """One stretch of training with its own learning rate schedule.

    Attributes:
        epochs: Passes over the training split.
        lr: Peak learning rate.
        frozen: Names of submodules that do not learn.
        weights: Weight of each named loss; 1 where none is given.
        options: Keyword arguments of the model's `begin_phase`.
    """

    epochs: int = Field(ge=1)
    lr: float = Field(gt=0)
    frozen: list[str]
    weights: dict[str, float]
    options: dict[str, bool | int | float | str]
