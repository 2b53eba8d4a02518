"""The state of one training run, and what the loop does with it."""

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from vqpriors.core.hardware import best_device, processes, resolve_precision
from vqpriors.core.phases import Phase
from vqpriors.training import checkpoint as checkpoints
from vqpriors.training import launch, sharding
from vqpriors.training.batch_size import is_out_of_memory, largest_batch
from vqpriors.training.checkpoint import Checkpoint, Progress, State
from vqpriors.training.config import RuntimeConfig, TrainConfig
from vqpriors.training.interruption import Interruption, StoppedError
from vqpriors.training.optimisation import (
    lr_share,
    make_optimizer,
    set_options,
    set_train_mode,
    weigh,
)
from vqpriors.training.shuffling import WHOLE, epoch_order, seed_step
from vqpriors.training.weights import Look, hold

Log = Callable[[int, Mapping[str, float]], None]


class Examples(Protocol):
    """Training or validation data that makes batches of given rows."""

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def batch(
        self, rows: Tensor, generator: torch.Generator | None, *, part: slice = WHOLE
    ) -> dict[str, Tensor]:
        """Return the named tensors of some rows, or of a part of them.

        Args:
            rows: (B,) int64.
            generator: Draws augmentation and caption dropout; None in evaluation, which has none.
                What a row draws does not depend on the part.
            part: Which of the rows, by their places 0 to B - 1.
        """
        ...


class Run:
    """The state of one training run and the operations of the loop on it."""

    def __init__(
        self,
        model: nn.Module,
        *,
        phases: Mapping[str, Phase],
        config: TrainConfig,
        runtime: RuntimeConfig,
        seed: int,
        num_examples: int,
    ):
        device = best_device()
        precision = resolve_precision(config.precision, device)
        processes()  # first, since whoever asks next may not tell of a CPU
        with launch.unasked():
            self.accelerator = Accelerator(mixed_precision=precision, cpu=device.type == "cpu")
        self.config, self.runtime, self.seed = config, runtime, seed
        self.phases = list(phases.values())
        self.num_examples = num_examples
        self.weights = hold(model, config=config, accelerator=self.accelerator)
        self.model, self.averaged = self.weights.model, self.weights.averaged
        self.progress, self.best = Progress(), State()
        self.sums: dict[str, Tensor] = {}
        self.num_summed = 0
        self.optimizer_state: dict[str, Any] = {}
        self.clock = self.saved_at = time.monotonic()
        self.saved_step = 0

    @property
    def global_batch(self) -> int:
        """Examples in a batch, over all processes."""
        return self.progress.batch_size

    @property
    def share(self) -> int:
        """This process's examples of a batch."""
        return self.global_batch // self.accelerator.num_processes

    @property
    def steps_per_epoch(self) -> int:
        """Updates that an epoch makes; what does not fill a batch is left out."""
        return self.num_examples // self.global_batch

    @property
    def steps_in_phase(self) -> int:
        """Updates made in the phase under way."""
        return self.progress.epoch * self.steps_per_epoch + self.progress.batch

    def require_validation(self, num_examples: int) -> None:
        """Raise a ValueError where a process would have nothing to validate on."""
        if num_examples < (world := self.accelerator.num_processes):
            raise ValueError(
                f"data: the validation split has {num_examples} examples for {world} processes; "
                "raise its validation_share in params.yaml"
            )

    def choose_batch_size(self, training: Examples) -> None:
        """Fix how many examples make a batch, unless a checkpoint already has.

        Raises:
            ValueError: If a process would be left without an example.
        """
        world, wanted = self.accelerator.num_processes, self.config.batch_size
        if not self.progress.batch_size:
            if wanted == "auto":
                device = self.accelerator.device
                with self.accelerator.autocast():
                    wanted = world * largest_batch(self.model, training, device=device, world=world)
                (wanted,) = broadcast_object_list([wanted])  # what the first process found
                self._say(f"train.batch_size: {wanted:,}, as much as fits into memory")
            self.progress.batch_size = min(wanted, self.num_examples)
        if self.share < self.config.grad_accum_steps:
            raise ValueError(
                f"train.batch_size: {self.global_batch} of {self.num_examples} examples over "
                f"{world} processes in {self.config.grad_accum_steps} parts leaves some empty; "
                "raise it, or lower train.grad_accum_steps or the number of processes"
            )

    @torch.no_grad()
    def rehearse(self, validation: Examples) -> None:
        """Raise a ValueError at once, not hours later, where a phase names what the model lacks."""
        model = self.averaged.module
        for phase in self.phases[self.progress.phase :]:
            set_options(model, phase.options)
            set_train_mode(model, phase.frozen)
            if phase.weights:
                batch = self._to_device(validation.batch(torch.arange(1), None))
                with self.accelerator.autocast():
                    weigh(model.eval().losses(batch), phase.weights)  # pyright: ignore[reportCallIssue] nn.Module types attributes as tensors

    def resume(self, folder: Path, log: Log) -> None:
        """Take up the newest whole checkpoint, as far as `runtime.resume` allows; log its history.

        Raises:
            ValueError: If there is none where one is required, or none that is whole.
        """
        if self.runtime.resume == "never" and self.accelerator.is_main_process:
            checkpoints.clear(folder)
        self.accelerator.wait_for_everyone()
        found = checkpoints.load(folder)
        if found is None and self.runtime.resume == "required":
            raise ValueError(
                f"runtime.resume: required, but {folder} has no checkpoint (one of other params, "
                "data or code is not used); set it to auto to start over"
            )
        if found is None:
            return
        self.progress, self.optimizer_state = found.progress, found.optimizer
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(found.scaler)
        self.weights.load(model=found.states["model"], averaged=found.states["averaged"])
        self.averaged.n_averaged.fill_(self.progress.step)
        self.best = found.states["best"] if self.weights.keeps_states else State()
        self.saved_step = self.progress.step
        for step, values in self.progress.history:
            log(step, values)
        self._say(f"resumed at step {self.progress.step}")

    def begin(self, phase: Phase) -> None:
        """Set up optimizer and schedule for a phase, from its start or from a checkpoint in it."""
        self.weights.begin(phase)
        learning = [p for p in self.model.parameters() if p.requires_grad]
        optimizer = make_optimizer(self.model, lr=phase.lr, config=self.config)
        if self.optimizer_state:
            sharding.load_optimizer(optimizer, self.optimizer_state)
            self.optimizer_state = {}
        self.accelerator.free_memory()  # else it would unscale the last phase's optimizer, too
        objective = Objective(self.model)
        if self.config.compile:
            objective.compile()
        # Parts of weights have parts of gradients: nothing is left for DDP to do.
        leave = self.weights.are_in_parts
        self.objective = self.accelerator.prepare_model(objective, evaluation_mode=leave)
        self.optimizer = self.accelerator.prepare_optimizer(optimizer)
        self.learning = learning

    def batches(self, training: Examples, phase: Phase) -> Iterator[dict[str, Tensor]]:
        """Yield the rest of the epoch's batches, this process's share of each, on the device."""
        done = sum(p.epochs for p in self.phases[: self.progress.phase]) + self.progress.epoch
        order = epoch_order(self.num_examples, seed=self.seed, epoch=done)
        rank = self.accelerator.process_index
        set_train_mode(self.model, phase.frozen)
        for batch in range(self.progress.batch, self.steps_per_epoch):
            rows = order[batch * self.global_batch :][: self.global_batch]
            generator = seed_step(seed=self.seed, step=self.progress.step, rank=rank)
            part = slice(rank * self.share, (rank + 1) * self.share)
            yield self._to_device(training.batch(rows, generator, part=part))

    def update(self, batch: dict[str, Tensor], phase: Phase) -> dict[str, float]:
        """Make one update; every `log_steps` updates, return the means of what was measured.

        Raises:
            ValueError: If the loss or its gradient is not finite; nothing is updated then.
        """
        total_steps = phase.epochs * self.steps_per_epoch
        lr = phase.lr * lr_share(self.steps_in_phase, total=total_steps, config=self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        means, total = self._backward(batch, phase)
        norm = self.accelerator.clip_grad_norm_(self.learning, self.config.clip_norm)
        assert norm is not None
        norm = sharding.whole(norm)
        losses = {k: v for k, v in means.items() if k not in measured(self.model)}
        self._require_finite({**losses, "total": total, "gradient_norm": norm}, lr)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.averaged.update_parameters(self.model)
        self.progress.step += 1
        self.progress.batch += 1
        self._add({**means, "loss": total, "gradient_norm": norm})
        if (
            self.progress.batch % self.config.log_steps
            and self.progress.batch < self.steps_per_epoch
        ):
            return {}
        return {**self._take_means(), "learning_rate": lr}

    def _backward(self, batch: dict[str, Tensor], phase: Phase) -> tuple[dict[str, Tensor], Tensor]:
        """Add up the gradients of the parts of a batch; return the means of its losses."""
        count = len(next(iter(batch.values())))
        parts = torch.arange(count).tensor_split(self.config.grad_accum_steps)
        means: dict[str, Tensor] = {}
        total = torch.zeros((), device=self.accelerator.device)
        for i, rows in enumerate(parts):
            part = {name: value[rows[0] : rows[-1] + 1] for name, value in batch.items()}
            is_last, share = i == len(parts) - 1, len(rows) / count
            with nullcontext() if is_last else self.accelerator.no_sync(self.objective):
                try:
                    losses = self.objective(part)
                    weighed = weigh(losses, phase.weights) * share
                    self.accelerator.backward(weighed)
                except RuntimeError as error:
                    if is_out_of_memory(error):
                        raise ValueError(self._too_large(len(rows))) from error
                    raise
            total = total + weighed.detach()
            for name, value in {**losses, **measured(self.model)}.items():
                means[name] = means.get(name, 0.0) + value.detach() * share
        return means, total

    def note(self, values: Mapping[str, float], log: Log, group: str = "train") -> None:
        """Log values and remember them for a resumed run."""
        named = {f"{group}/{name}": value for name, value in values.items()}
        self.progress.history.append((self.progress.step, named))
        if self.accelerator.is_main_process:
            log(self.progress.step, named)

    def end_epoch(
        self, validation: Examples, phase: Phase, log: Log, look: Look | None = None
    ) -> None:
        """Measure the averaged weights on the validation split and keep the best."""
        self.progress.epoch, self.progress.batch = self.progress.epoch + 1, 0
        values = self.validate(validation, phase)
        if look is not None:
            values |= self.weights.looked(look)
        self.note(values, log, group="validation")
        # Not a number is the worst loss there is, so that any number is better.
        loss = values["loss"] if math.isfinite(values["loss"]) else math.inf
        if self.progress.best is None or loss < self.progress.best:
            self.progress.best, self.best = loss, self.averaged_state()

    def end_phase(self) -> None:
        """Go on to the next phase, from the best state of this one if another follows."""
        self.progress.phase, self.progress.epoch = self.progress.phase + 1, 0
        if self.progress.phase < len(self.phases):
            self.progress.best = None
            self.weights.start_from(self.best)

    def averaged_state(self) -> State:
        """Copy the averaged weights and the model's buffers, on the CPU; see `Weights.copied`."""
        return self.weights.copied(self.averaged.module)

    def save_if_due(self, folder: Path) -> None:
        """Save a checkpoint when `checkpoint_seconds` or `checkpoint_steps` are over."""
        is_old = time.monotonic() - self.saved_at >= self.runtime.checkpoint_seconds
        steps = self.runtime.checkpoint_steps
        if is_old or (steps and self.progress.step - self.saved_step >= steps):
            self.save(folder)

    def stop_if_asked(self, folder: Path, interruption: Interruption) -> None:
        """Save and raise a StoppedError where any process was told to stop."""
        told = torch.tensor(float(interruption.name is not None), device=self.accelerator.device)
        if not self.accelerator.reduce(told, "sum"):
            return
        self.save(folder)
        self.accelerator.wait_for_everyone()  # else a launcher would end the one that still saves
        name = interruption.name or "another process"
        raise StoppedError(f"stopped by {name} at step {self.progress.step}")

    def save(self, folder: Path) -> None:
        """Save a checkpoint."""
        now = time.monotonic()
        self.progress.seconds, self.clock = self.progress.seconds + now - self.clock, now
        states = {"model": self.weights.copied(self.model), "averaged": self.averaged_state()}
        states["best"] = self.best
        # A finished phase's optimizer is not the next one's.
        optimizer = self.optimizer.state_dict() if self.steps_in_phase else {}
        optimizer = self.weights.copied_optimizer(optimizer)
        scaler = self.accelerator.scaler
        scale = {} if scaler is None else scaler.state_dict()
        if self.accelerator.is_main_process:
            checkpoints.save(folder, Checkpoint(self.progress, states, optimizer, scale))
        self.saved_at, self.saved_step = time.monotonic(), self.progress.step

    def _too_large(self, count: int) -> str:
        return (
            f"train.batch_size: out of memory on {self.accelerator.device} at {count} examples at "
            "a time; lower it, or raise train.grad_accum_steps"
        )

    @torch.no_grad()
    def validate(
        self, validation: Examples, phase: Phase, *, most: int | None = None
    ) -> dict[str, float]:
        """Return the averaged weights' losses on the validation split, means over its examples.

        Args:
            validation: The split.
            phase: Weighs the losses.
            most: At most so many examples, the first.
        """
        count = len(validation) if most is None else min(most, len(validation))
        sums: dict[str, Tensor] = {}
        model = self.averaged.module.eval()
        size, world = self.share, self.accelerator.num_processes
        rows = torch.arange(self.accelerator.process_index, count, world)
        chunks = [(chunk, len(chunk)) for chunk in rows.split(size)]
        if self.weights.are_in_parts:  # every process is part of every pass, some with no new row
            passes = math.ceil(math.ceil(count / world) / size)
            chunks += [(rows[:1], 0)] * (passes - len(chunks))
        for chunk, weight in chunks:
            with self.accelerator.autocast():
                losses = model.losses(self._to_device(validation.batch(chunk, None)))  # pyright: ignore[reportCallIssue] nn.Module types attributes as tensors
            values = {**losses, **measured(model), "loss": weigh(losses, phase.weights)}
            for name, value in values.items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value * weight
        return self._over_ranks(sums, count=count)

    def _require_finite(self, values: Mapping[str, Tensor], lr: float) -> None:
        # Gradients scaled for fp16 may overflow: the scaler then leaves the step out.
        is_scaled = self.accelerator.scaler is not None
        checked = {k: v for k, v in values.items() if not (is_scaled and k == "gradient_norm")}
        if torch.isfinite(torch.stack([v.detach().float() for v in checked.values()])).all():
            return
        bad = [name for name, value in checked.items() if not torch.isfinite(value)]
        raise ValueError(
            f"step {self.progress.step}: {', '.join(bad)} not finite at learning rate {lr:.3g}; "
            "lower the phase's lr or train.clip_norm, or set train.precision to 'no'"
        )

    def _add(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value.detach())) + value.detach()
        self.num_summed += 1

    def _take_means(self) -> dict[str, float]:
        count = self.num_summed * self.accelerator.num_processes
        means = self._over_ranks(self.sums, count=count)
        self.sums, self.num_summed = {}, 0
        return means

    def _over_ranks(self, sums: Mapping[str, Tensor], *, count: int) -> dict[str, float]:
        # One collective and one wait for the device, not one a name.
        total: Any = self.accelerator.reduce(torch.stack([v.float() for v in sums.values()]), "sum")
        return {name: value / count for name, value in zip(sums, total.tolist(), strict=True)}

    def _to_device(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        device = self.accelerator.device
        return {name: value.to(device, non_blocking=True) for name, value in batch.items()}

    def _say(self, text: str) -> None:
        if self.accelerator.is_main_process:
            print(text, file=sys.stderr)


def measured(model: nn.Module) -> dict[str, Tensor]:
    """Return what a model's last `losses` measured beside them; scalars by name."""
    return dict(getattr(model, "measured", {}))


class Objective(nn.Module):
    """Makes a model's losses its forward pass, which is what mixed precision and DDP wrap."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the model's named losses."""
        return self.model.losses(batch)  # pyright: ignore[reportCallIssue] nn.Module types attributes as tensors
