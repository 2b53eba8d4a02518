"""A model in training and the moving average of its weights, replicated or sharded by FSDP."""

import copy
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from vqpriors.core.phases import Phase
from vqpriors.training import launch, sharding
from vqpriors.training.checkpoint import StateDict
from vqpriors.training.config import TrainConfig
from vqpriors.training.phase_setup import set_options, set_progress, set_train_mode

EpochCallback = Callable[[nn.Module], Mapping[str, float]]


class MovingAverage(nn.Module):
    """A copy of a model with exponential moving averages of its weights, and its latest buffers.

    torch's `AveragedModel` sends the number of updates to the device at each one, and a GPU would
    be waited for.

    Args:
        model: The model, which is copied.
        decay: Fraction of the old average that is kept; after n updates at most
            (1 + n) / (10 + n), so that the average forgets the initial weights faster.

    Attributes:
        module: The copy.
        num_updates: Number of updates n.
    """

    def __init__(self, model: nn.Module, *, decay: float):
        super().__init__()
        self.module = copy.deepcopy(model)
        self.decay, self.num_updates = decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights of the model; the first ones are copied."""
        averages: list[Tensor] = list(self.module.parameters())
        weights: list[Tensor] = list(model.parameters())
        kept = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        share = 1 - kept if self.num_updates else 1.0
        torch._foreach_lerp_(averages, weights, share)  # pyright: ignore[reportPrivateImportUsage] no public name
        for own, buffer in zip(self.module.buffers(), model.buffers(), strict=True):
            own.copy_(buffer)
        self.num_updates += 1


class Weights:
    """The weights of a run, replicated in each process; whatever leaves them is a full tensor.

    Attributes:
        model: The model that is trained.
        averaged: The exponential moving average of its weights.
        is_sharded: Whether this process holds only its shard of both.
    """

    def __init__(self, model: nn.Module, *, config: TrainConfig, accelerator: Accelerator):
        self.accelerator, self.is_sharded = accelerator, False
        self.model = model.to(accelerator.device)
        self.averaged = MovingAverage(self.model, decay=config.stage.ema_decay)

    @property
    def keeps_states(self) -> bool:
        """Whether this process keeps copies of state dicts."""
        return True

    @property
    def models(self) -> tuple[nn.Module, ...]:
        """The models that options and progress are set on."""
        return self.model, self.averaged.module

    def begin(self, phase: Phase, options: Mapping[str, Any]) -> None:
        """Set a phase's options and frozen submodules."""
        self.set_options(options)
        set_train_mode(self.model, phase.frozen)

    def set_options(self, options: Mapping[str, Any]) -> None:
        """Set options on the model and on its average."""
        for model in self.models:
            set_options(model, options)

    def set_progress(self, fraction: float) -> None:
        """Set the fraction of training that is done on the model and on its average."""
        for model in self.models:
            set_progress(model, fraction)

    def load(self, *, model: StateDict, averaged: StateDict) -> None:
        """Load state dicts that every process has."""
        sharding.load_state(self.model, model)
        sharding.load_state(self.averaged.module, averaged)

    def start_from(self, state: StateDict) -> None:
        """Load a state dict of `state_dict_on_cpu`, as the weights and as their average."""
        self.load(model=state, averaged=state)

    def state_dict_on_cpu(self, model: nn.Module) -> StateDict:
        """Copy the weights and buffers of the model or of its average to the CPU.

        All processes take part; those that do not keep states get an empty dict.
        """
        state = StateDict()
        for name, value in model.state_dict().items():
            full: Tensor = sharding.full_tensor(value.detach())
            if self.keeps_states:
                state[name] = full.cpu().clone(memory_format=torch.contiguous_format)
        return state

    def full_optimizer_state(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return an optimizer's state dict with full tensors."""
        return state

    def run_callback(self, callback: EpochCallback) -> Mapping[str, float]:
        """Call a callback on the averaged model, on the main process."""
        if not self.accelerator.is_main_process:
            return {}
        with torch.no_grad(), self.accelerator.autocast():
            return callback(self.averaged.module.eval())


class ShardedWeights(Weights):
    """Weights of which each process holds a shard, by FSDP; the given model stays on the CPU."""

    def __init__(
        self,
        model: nn.Module,
        *,
        config: TrainConfig,
        accelerator: Accelerator,
        settings: launch.FSDPSettings,
    ):
        launch.require_supported(config, precision=accelerator.mixed_precision)
        self.accelerator, self.is_sharded = accelerator, True
        self.full_model, self.model = model, copy.deepcopy(model)
        self.averaged = MovingAverage(model, decay=config.stage.ema_decay)
        mesh = sharding.mesh_of(accelerator.device)
        # The averaged model has no backward pass that would free gathered parameters, so reshard
        # it after every forward pass.
        for part, reshard in (
            (self.model, settings.reshard_after_forward),
            (self.averaged.module, True),
        ):
            sharding.shard(
                part,
                mesh=mesh,
                reshard_after_forward=reshard,
                precision=accelerator.mixed_precision,
            )

    @property
    def keeps_states(self) -> bool:
        """Whether this process keeps copies of state dicts: the main process only."""
        return self.accelerator.is_main_process

    @property
    def models(self) -> tuple[nn.Module, ...]:
        """The models that options and progress are set on."""
        return self.model, self.averaged.module, self.full_model

    def begin(self, phase: Phase, options: Mapping[str, Any]) -> None:
        """Set a phase's options and frozen submodules."""
        super().begin(phase, options)
        sharding.refresh_requires_grad(self.model)

    def start_from(self, state: StateDict) -> None:
        """Load a state dict of the main process, as the weights and as their average."""
        sharding.load_from_main(self.model, state)
        sharding.load_from_main(self.averaged.module, state)

    def full_optimizer_state(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return an optimizer's state dict with full tensors; all processes take part."""
        return sharding.full_optimizer_state(state) if state else state

    def run_callback(self, callback: EpochCallback) -> Mapping[str, float]:
        """Call a callback on the gathered averaged model, on the main process.

        Sampling calls a model in many small passes, each of which would gather shards again.
        """
        state = self.state_dict_on_cpu(self.averaged.module)
        if not self.accelerator.is_main_process:
            return {}
        self.full_model.load_state_dict(state)
        try:
            with torch.no_grad(), self.accelerator.autocast():
                return callback(self.full_model.to(self.accelerator.device).eval())
        except torch.OutOfMemoryError:
            text = "FSDP: the full model does not fit on the device beside its shard; no previews"
            print(text, file=sys.stderr)
            return {}
        finally:
            self.full_model.cpu()


def make_weights(model: nn.Module, *, config: TrainConfig, accelerator: Accelerator) -> Weights:
    """Shard a model if the launcher asks for FSDP and the model has FSDP units.

    Raises:
        ValueError: If the launcher asks for an unsupported option, or params exclude FSDP.
    """
    settings = launch.fsdp_settings_from_env(os.environ)
    if settings is not None and sharding.fsdp_units(model) and accelerator.num_processes > 1:
        return ShardedWeights(model, config=config, accelerator=accelerator, settings=settings)
    if settings is not None and accelerator.is_main_process:
        name = type(model).__name__
        print(f"LAUNCH: FSDP has no layers of {name} to shard here", file=sys.stderr)
    return Weights(model, config=config, accelerator=accelerator)
