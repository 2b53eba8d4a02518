"""A training run: its state, and the operations of the training loop on it."""

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from vqpriors.core.compiler import avx512_problem
from vqpriors.core.hardware import best_device, processes, resolve_precision
from vqpriors.core.phases import Phase
from vqpriors.training import launch, sharding
from vqpriors.training.batch_size import choose_batch_size, require_full_parts
from vqpriors.training.checkpoint import Checkpoint, Progress, StateDict
from vqpriors.training.config import TrainConfig
from vqpriors.training.examples import Examples, to_device
from vqpriors.training.gradients import FiniteCheck, accumulate_gradients, end_update
from vqpriors.training.losses import Objective, extra_metrics, weighted_sum
from vqpriors.training.lr_schedule import lr_factor
from vqpriors.training.means import RunningMeans
from vqpriors.training.optimizers import make_optimizer
from vqpriors.training.phase_setup import set_options, set_train_mode
from vqpriors.training.shuffling import epoch_order, seed_step
from vqpriors.training.validation import validate
from vqpriors.training.weights import EpochCallback, make_weights

Log = Callable[[int, Mapping[str, float]], None]


class TrainingRun:
    """The state of one training run.

    Attributes:
        weights: The model and its moving average.
        progress: Position in training, and its history.
        best: State dict with the lowest validation loss of the current phase; the last one if the
            model says `keeps_last`.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        phases: Mapping[str, Phase],
        config: TrainConfig,
        seed: int,
        num_examples: int,
    ):
        device = best_device()
        precision = resolve_precision(config.shared.precision, device)
        # Must come first: the first PartialState() decides whether processes are CPU processes.
        processes()
        with launch.hide_fsdp_env():
            self.accelerator = Accelerator(mixed_precision=precision, cpu=device.type == "cpu")
        if device.type == "cuda":  # few sizes of batches, so trying all convolutions pays off
            torch.backends.cudnn.benchmark = True
        self.config, self.seed, self.phases = config, seed, list(phases.values())
        self.num_examples = num_examples
        self.weights = make_weights(model, config=config, accelerator=self.accelerator)
        self.model, self.averaged = self.weights.model, self.weights.averaged
        self.progress, self.best = Progress(), StateDict()
        self.means, self.finite = RunningMeans(self.accelerator), FiniteCheck(self.accelerator)
        self.optimizer_state: dict[str, Any] = {}

    @property
    def global_batch_size(self) -> int:
        """Examples in a batch, over all processes."""
        return self.progress.batch_size

    @property
    def local_batch_size(self) -> int:
        """This process's examples in a batch."""
        return self.global_batch_size // self.accelerator.num_processes

    @property
    def steps_per_epoch(self) -> int:
        """Updates in an epoch; an incomplete last batch is dropped."""
        return self.num_examples // self.global_batch_size

    @property
    def steps_in_phase(self) -> int:
        """Updates made in the current phase."""
        return self.progress.epoch * self.steps_per_epoch + self.progress.batch

    @property
    def total_steps(self) -> int:
        """Updates of all phases."""
        return sum(phase.epochs for phase in self.phases) * self.steps_per_epoch

    def warn_of_layers(self) -> None:
        """Print why `train.compile_layers` changes nothing here, if so."""
        if not self.config.shared.compile_layers:
            return
        device = self.accelerator.device
        precision = resolve_precision(self.config.shared.precision, device)
        if self.config.section == "tokenizer.train":  # the search for codes is in float32
            precision = "bf16"
        if reason := avx512_problem(device, precision):
            self.print(f"train.compile_layers: changes nothing: {reason}")

    def choose_batch_size(self, training: Examples) -> None:
        """Set the batch size, unless a checkpoint already has.

        Raises:
            ValueError: If processes get unequal shares of a batch, or a part has no example.
        """
        if not self.progress.batch_size:
            size = choose_batch_size(
                self.model, training, config=self.config, accelerator=self.accelerator
            )
            if self.config.stage.batch_size == "auto":
                self.print(
                    f"{self.config.section}.batch_size: {size:,}, the most that fits into memory"
                )
            self.progress.batch_size = size
        require_full_parts(
            self.global_batch_size,
            num_examples=self.num_examples,
            num_processes=self.accelerator.num_processes,
            config=self.config,
        )

    @torch.no_grad()
    def check_phases(self, validation: Examples) -> None:
        """Raise a ValueError at the start if a phase names something that the model lacks."""
        model = self.averaged.module
        for phase in self.phases[self.progress.phase :]:
            for fraction in (0.0, 1.0) if phase.is_annealed else (0.0,):
                set_options(model, phase.options_at(fraction))
                set_train_mode(model, phase.frozen)
                if weights := phase.weights_at(fraction):
                    batch = to_device(
                        validation.batch(torch.arange(1), None), self.accelerator.device
                    )
                    with self.accelerator.autocast():
                        weighted_sum(model.eval().losses(batch), weights)  # pyright: ignore[reportCallIssue] nn.Module types attributes as tensors

    def begin(self, phase: Phase) -> None:
        """Set up a phase, from its start or from a checkpoint in it."""
        last_step = max(0, self.steps_in_phase - 1)  # whose options a validation after it needs
        self.weights.begin(phase, phase.options_at(self._fraction(phase, last_step)))
        self.weights.set_progress(max(0, self.progress.step - 1) / self.total_steps)
        trainable = [p for p in self.model.parameters() if p.requires_grad]
        optimizer = make_optimizer(self.model, lr=phase.lr, config=self.config.stage)
        if self.optimizer_state:
            sharding.load_optimizer(optimizer, self.optimizer_state)
            self.optimizer_state = {}
        self.accelerator.free_memory()  # otherwise it would unscale the last phase's optimizer too
        objective = Objective(self.model)
        if self.config.shared.compile:
            objective.compile()
        # Sharded weights have sharded gradients, which need no DDP.
        self.objective = self.accelerator.prepare_model(
            objective, evaluation_mode=self.weights.is_sharded
        )
        self.optimizer = self.accelerator.prepare_optimizer(optimizer)
        self.trainable = trainable

    def batches(self, training: Examples, phase: Phase) -> Iterator[dict[str, Tensor]]:
        """Yield the rest of the epoch's batches, this process's part of each, on the device."""
        done = sum(p.epochs for p in self.phases[: self.progress.phase]) + self.progress.epoch
        order = epoch_order(self.num_examples, seed=self.seed, epoch=done)
        rank, size = self.accelerator.process_index, self.local_batch_size
        set_train_mode(self.model, phase.frozen)
        for batch in range(self.progress.batch, self.steps_per_epoch):
            rows = order[batch * self.global_batch_size :][: self.global_batch_size]
            generator = seed_step(seed=self.seed, step=self.progress.step, rank=rank)
            part = slice(rank * size, (rank + 1) * size)
            yield to_device(training.batch(rows, generator, part=part), self.accelerator.device)

    def update(self, batch: dict[str, Tensor], phase: Phase) -> dict[str, float]:
        """Make one update; every `log_steps` updates, return the means of losses and metrics.

        Raises:
            ValueError: If the loss or its gradient is not finite; on a CPU nothing is updated then,
                on a GPU the error comes with the next means, before they can be saved.
        """
        self._set_step(phase)
        lr = self._set_learning_rate(phase)
        means, total = accumulate_gradients(
            self.objective,
            self.model,
            batch,
            loss_weights=phase.weights_at(self._fraction(phase, self.steps_in_phase)),
            config=self.config,
            accelerator=self.accelerator,
        )
        norm = self.accelerator.clip_grad_norm_(self.trainable, self.config.shared.clip_norm)
        assert norm is not None
        norm = sharding.full_tensor(norm)
        losses = {k: v for k, v in means.items() if k not in extra_metrics(self.model)}
        self.finite.add(
            {**losses, "total": total, "gradient_norm": norm}, step=self.progress.step, lr=lr
        )
        end_update(self.model)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.averaged.update(self.model)
        self.progress.step += 1
        self.progress.batch += 1
        self.means.add({**means, "loss": total, "gradient_norm": norm})
        is_last = self.progress.batch >= self.steps_per_epoch
        if self.progress.batch % self.config.shared.log_steps and not is_last:
            return {}
        self.finite.require()
        return {**self.means.take(), "learning_rate": lr}

    def _set_step(self, phase: Phase) -> None:
        if phase.is_annealed:
            options = phase.options_at(self._fraction(phase, self.steps_in_phase))
            self.weights.set_options(options)
        self.weights.set_progress(self.progress.step / self.total_steps)

    def _fraction(self, phase: Phase, step: int) -> float:
        return step / max(1, phase.epochs * self.steps_per_epoch - 1)

    def _set_learning_rate(self, phase: Phase) -> float:
        lr = phase.lr * lr_factor(
            self.steps_in_phase,
            total=phase.epochs * self.steps_per_epoch,
            warmup_steps=self.config.stage.warmup_steps,
            min_lr_ratio=self.config.shared.min_lr_ratio,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def validate(
        self, validation: Examples, phase: Phase, *, limit: int | None = None
    ) -> dict[str, float]:
        """Return the averaged weights' losses on the validation split; see `validate`.

        With the last weights of losses, so that epochs can be compared.
        """
        return validate(
            self.weights,
            validation,
            loss_weights=phase.weights_at(1.0),
            batch_size=self.local_batch_size,
            limit=limit,
        )

    def log(self, values: Mapping[str, float], log: Log, group: str = "train") -> None:
        """Log values and keep them in the history for a resumed run."""
        named = {f"{group}/{name}": value for name, value in values.items()}
        self.progress.history.append((self.progress.step, named))
        if self.accelerator.is_main_process:
            log(self.progress.step, named)

    def end_epoch(
        self,
        validation: Examples,
        phase: Phase,
        log: Log,
        callback: EpochCallback | None = None,
        *,
        callback_epochs: int = 1,
    ) -> None:
        """Validate the averaged weights and keep the best, or the last if the model says so."""
        self.progress.epoch, self.progress.batch = self.progress.epoch + 1, 0
        values, epoch = self.validate(validation, phase), self.progress.epoch
        if callback is not None and (epoch % callback_epochs == 0 or epoch == phase.epochs):
            values |= self.weights.run_callback(callback)
        self.log(values, log, group="validation")
        # NaN counts as infinite, so that any finite loss is better.
        loss = values["loss"] if math.isfinite(values["loss"]) else math.inf
        keeps_last = getattr(self.model, "keeps_last", False)
        if self.progress.best is None or loss < self.progress.best or keeps_last:
            self.progress.best, self.best = loss, self.averaged_state()

    def end_phase(self) -> None:
        """Move to the next phase, which starts from the best state of this one."""
        self.progress.phase, self.progress.epoch = self.progress.phase + 1, 0
        if self.progress.phase < len(self.phases):
            self.progress.best = None
            self.weights.start_from(self.best)

    def averaged_state(self) -> StateDict:
        """Copy the averaged weights and the model's buffers; see `Weights.state_dict_on_cpu`."""
        return self.weights.state_dict_on_cpu(self.averaged.module)

    def checkpoint(self) -> Checkpoint:
        """Return the complete state; all processes take part."""
        states = {
            "model": self.weights.state_dict_on_cpu(self.model),
            "averaged": self.averaged_state(),
            "best": self.best,
        }
        # The next phase has an optimizer of its own.
        optimizer = self.optimizer.state_dict() if self.steps_in_phase else {}
        optimizer = self.weights.full_optimizer_state(optimizer)
        scaler = self.accelerator.scaler
        scale = {} if scaler is None else scaler.state_dict()
        return Checkpoint(self.progress, states, optimizer, scale)

    def restore(self, checkpoint: Checkpoint, log: Log) -> None:
        """Continue from a checkpoint; log its history."""
        self.progress, self.optimizer_state = checkpoint.progress, checkpoint.optimizer
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(checkpoint.scaler)
        states = checkpoint.states
        self.weights.load(model=states["model"], averaged=states["averaged"])
        self.averaged.num_updates = self.progress.step
        self.best = states["best"] if self.weights.keeps_states else StateDict()
        for step, values in self.progress.history:
            log(step, values)
        self.print(f"resumed at step {self.progress.step}")

    def print(self, text: str) -> None:
        """Print a line to stderr, in the main process."""
        if self.accelerator.is_main_process:
            print(text, file=sys.stderr)
