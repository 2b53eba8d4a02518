"""A model in training and the average of its weights: a copy in each process, or parts of one."""

import copy
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from vqpriors.core.phases import Phase
from vqpriors.training import launch, sharding
from vqpriors.training.checkpoint import State
from vqpriors.training.config import TrainConfig
from vqpriors.training.optimisation import averaging, set_options, set_train_mode

Look = Callable[[nn.Module], Mapping[str, float]]


class Weights:
    """The weights of a run; whatever leaves them is whole.

    Attributes:
        model: What learns.
        averaged: The exponential moving average of its weights.
        are_in_parts: Whether this process holds but a part of both.
    """

    def __init__(self, model: nn.Module, *, config: TrainConfig, accelerator: Accelerator):
        self.accelerator, self.are_in_parts = accelerator, False
        self.model = model.to(accelerator.device)
        self.averaged = AveragedModel(self.model, multi_avg_fn=averaging(config.ema_decay))

    @property
    def keeps_states(self) -> bool:
        """Whether copies are made in this process."""
        return True

    def begin(self, phase: Phase) -> None:
        """Have the model learn what a phase is about."""
        for model in (self.model, self.averaged.module):
            set_options(model, phase.options)
        set_train_mode(self.model, phase.frozen)

    def load(self, *, model: State, averaged: State) -> None:
        """Take in states that every process has."""
        sharding.load_state(self.model, model)
        sharding.load_state(self.averaged.module, averaged)

    def start_from(self, state: State) -> None:
        """Take in a copied state, as the weights and as their average."""
        self.load(model=state, averaged=state)

    def copied(self, model: nn.Module) -> State:
        """Copy the weights and buffers of the model or of its average, on the CPU.

        All processes take part; those that do not keep states get nothing.
        """
        state = State()
        for name, value in model.state_dict().items():
            whole: Tensor = sharding.whole(value.detach())
            if self.keeps_states:
                state[name] = whole.cpu().clone(memory_format=torch.contiguous_format)
        return state

    def copied_optimizer(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return an optimizer's state as a whole."""
        return state

    def looked(self, look: Look) -> Mapping[str, float]:
        """Look at the averaged weights, on the main process."""
        if not self.accelerator.is_main_process:
            return {}
        with torch.no_grad(), self.accelerator.autocast():
            return look(self.averaged.module.eval())


class Parts(Weights):
    """Weights of which each process holds a part, by FSDP; the model given stays on the CPU."""

    def __init__(
        self,
        model: nn.Module,
        *,
        config: TrainConfig,
        accelerator: Accelerator,
        request: launch.Request,
    ):
        precision = accelerator.mixed_precision
        launch.require_supported(
            is_compiled=config.compile, batch_size=config.batch_size, precision=precision
        )
        self.accelerator, self.are_in_parts = accelerator, True
        self.whole, self.model = model, copy.deepcopy(model)
        self.averaged = AveragedModel(model, multi_avg_fn=averaging(config.ema_decay))
        mesh = sharding.mesh_of(accelerator.device)
        # No backward pass lets go of what averaged weights have gathered.
        for part, reshard in (
            (self.model, request.reshard_after_forward),
            (self.averaged.module, True),
        ):
            sharding.shard(part, mesh=mesh, reshard_after_forward=reshard, precision=precision)

    @property
    def keeps_states(self) -> bool:
        """Whether copies are made in this process: in the main one alone."""
        return self.accelerator.is_main_process

    def begin(self, phase: Phase) -> None:
        """Have the model learn what a phase is about."""
        super().begin(phase)
        set_options(self.whole, phase.options)
        sharding.notice_frozen(self.model)

    def start_from(self, state: State) -> None:
        """Take in a state that the main process has, as the weights and as their average."""
        sharding.load_from_main(self.model, state)
        sharding.load_from_main(self.averaged.module, state)

    def copied_optimizer(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return an optimizer's state as a whole; all processes take part."""
        return sharding.whole_optimizer(state) if state else state

    def looked(self, look: Look) -> Mapping[str, float]:
        """Look at the averaged weights, gathered, on the main process.

        To draw, a look calls a model in many small passes, each of which would gather parts again.
        """
        state = self.copied(self.averaged.module)
        if not self.accelerator.is_main_process:
            return {}
        self.whole.load_state_dict(state)
        try:
            with torch.no_grad(), self.accelerator.autocast():
                return look(self.whole.to(self.accelerator.device).eval())
        except torch.OutOfMemoryError:
            text = "FSDP: the whole model does not fit beside its parts; nothing is drawn of it"
            print(text, file=sys.stderr)
            return {}
        finally:
            self.whole.cpu()


def hold(model: nn.Module, *, config: TrainConfig, accelerator: Accelerator) -> Weights:
    """Share a model out where the launch asks for it and the model has layers to share out.

    Raises:
        ValueError: If the launch asks for what is not offered, or params for what excludes it.
    """
    request = launch.requested(os.environ)
    if request is not None and sharding.layers_of(model) and accelerator.num_processes > 1:
        return Parts(model, config=config, accelerator=accelerator, request=request)
    if request is not None and accelerator.is_main_process:
        name = type(model).__name__
        print(f"LAUNCH: FSDP has no layers of {name} to share out here", file=sys.stderr)
    return Weights(model, config=config, accelerator=accelerator)
