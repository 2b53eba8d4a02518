"""The training loop: phases, mixed precision, averaged weights, best by validation, exact resume."""

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from pydantic import Field
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from vqpriors.hardware import Precision, best_device, resolve_precision
from vqpriors.params import Section
from vqpriors.phases import Phase
from vqpriors.training import checkpoint as checkpoints
from vqpriors.training.checkpoint import Checkpoint, Progress, State
from vqpriors.training.order import epoch_order, seed_step

Log = Callable[[int, Mapping[str, float]], None]


class TrainConfig(Section):
    """A `train` section of params.yaml."""

    batch_size: int = Field(ge=1)
    warmup_steps: int = Field(ge=0)
    final_lr_share: float = Field(ge=0, le=1)
    weight_decay: float = Field(ge=0)
    betas: list[float] = Field(min_length=2, max_length=2)
    clip_norm: float = Field(gt=0)
    ema_decay: float = Field(ge=0, lt=1)
    precision: Precision
    log_steps: int = Field(ge=1)
    checkpoint_seconds: float = Field(ge=0)


class Examples(Protocol):
    """Training or validation data that makes batches of given rows."""

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def batch(self, rows: Tensor, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Return the named tensors of some rows.

        Args:
            rows: (B,) int64.
            generator: Draws augmentation and caption dropout; None in evaluation, which has none.
        """
        ...


@dataclass(frozen=True)
class Trained:
    """What a run leaves.

    Attributes:
        best: State with the lowest validation loss of the last phase, averaged weights.
        last: State after the last update, averaged weights.
        progress: Where the run stands: its history and time.
    """

    best: State
    last: State
    progress: Progress


def train(
    model: nn.Module,
    *,
    phases: Mapping[str, Phase],
    config: TrainConfig,
    training: Examples,
    validation: Examples,
    seed: int,
    folder: Path,
    log: Log,
) -> Trained:
    """Train a model through its phases, from where the checkpoints in `folder` stand.

    The model has `losses(batch) -> {name: scalar}` and, where a phase has options,
    `begin_phase(**options)`.

    Args:
        model: What to train, on the CPU.
        phases: The curriculum, in order.
        config: How to train.
        training: Examples to learn from.
        validation: Examples that choose the best state.
        seed: Start of every random choice.
        folder: Where checkpoints are kept, used by no one else.
        log: Receives values by name at a step; on resume, all that was logged before.

    Raises:
        ValueError: If a loss is not finite, or the training split is empty.
    """
    run = Run(model, phases=phases, config=config, seed=seed, num_examples=len(training))
    run.resume(folder, log)
    for name, phase in list(phases.items())[run.progress.phase :]:
        run.begin(phase)
        bar = Bar(name, total=phase.epochs * run.steps_per_epoch, done=run.steps_in_phase)
        while run.progress.epoch < phase.epochs:
            for batch in run.batches(training):
                values = run.update(batch, phase)
                bar.advance(values)
                if values:
                    run.note(values, log)
                    run.save_if_due(folder)
            run.end_epoch(validation, phase, log)
            run.save_if_due(folder)
        bar.close()
        run.end_phase()
        run.save(folder)
    return Trained(run.best, run.averaged_state(), run.progress)


class Run:
    """The state of one training run and the operations of the loop on it."""

    def __init__(
        self,
        model: nn.Module,
        *,
        phases: Mapping[str, Phase],
        config: TrainConfig,
        seed: int,
        num_examples: int,
    ):
        precision = resolve_precision(config.precision, best_device())
        self.accelerator = Accelerator(mixed_precision=precision)
        self.model, self.config, self.seed = model.to(self.accelerator.device), config, seed
        self.phases = list(phases.values())
        world = self.accelerator.num_processes
        self.num_examples, self.global_batch = num_examples, min(config.batch_size, num_examples)
        self.share = self.global_batch // world
        if self.share < 1:
            raise ValueError(
                f"train.batch_size: {config.batch_size} over {num_examples} examples leaves none for "
                f"each of {world} processes; raise it or lower the number of processes"
            )
        self.steps_per_epoch = num_examples // self.global_batch
        self.averaged = AveragedModel(self.model, multi_avg_fn=_average(config.ema_decay))
        self.progress, self.best = Progress(), State()
        self.sums: dict[str, Tensor] = {}
        self.optimizer_state: dict[str, Any] | None = None
        self.clock = self.saved_at = time.monotonic()

    @property
    def steps_in_phase(self) -> int:
        """Updates made in the phase under way."""
        return self.progress.epoch * self.steps_per_epoch + self.progress.batch

    def resume(self, folder: Path, log: Log) -> None:
        """Take up the newest whole checkpoint, if any, and log its history again."""
        found = checkpoints.load(folder)
        if found is None:
            return
        self.progress, self.optimizer_state = found.progress, found.optimizer
        self.model.load_state_dict(found.states["model"])
        self.averaged.module.load_state_dict(found.states["averaged"])
        self.averaged.n_averaged.fill_(self.progress.step)
        self.best = found.states["best"]
        for step, values in self.progress.history:
            log(step, values)
        self._say(f"resumed at step {self.progress.step}")

    def begin(self, phase: Phase) -> None:
        """Set up optimizer and schedule for a phase, from its start or from a checkpoint in it."""
        if phase.options:
            self.model.begin_phase(**phase.options)  # pyright: ignore[reportCallIssue]
            self.averaged.module.begin_phase(**phase.options)  # pyright: ignore[reportCallIssue]
        _freeze(self.model, phase.frozen)
        learning = [p for p in self.model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            _groups(learning, self.config.weight_decay),
            lr=phase.lr,
            betas=(self.config.betas[0], self.config.betas[1]),
            fused=True,
        )
        if self.optimizer_state:
            optimizer.load_state_dict(self.optimizer_state)
            self.optimizer_state = None
        self.objective, self.optimizer = self.accelerator.prepare(Objective(self.model), optimizer)
        self.learning = learning

    def batches(self, training: Examples) -> Iterator[dict[str, Tensor]]:
        """Yield the rest of the epoch's batches, this process's share of each, on the device."""
        done = sum(p.epochs for p in self.phases[: self.progress.phase]) + self.progress.epoch
        order = epoch_order(self.num_examples, seed=self.seed, epoch=done)
        rank = self.accelerator.process_index
        self.model.train()
        for batch in range(self.progress.batch, self.steps_per_epoch):
            start = batch * self.global_batch + rank * self.share
            generator = seed_step(seed=self.seed, step=self.progress.step, rank=rank)
            yield self._to_device(training.batch(order[start : start + self.share], generator))

    def update(self, batch: dict[str, Tensor], phase: Phase) -> dict[str, float]:
        """Make one update; every `log_steps` updates, return the means of what was measured.

        Raises:
            ValueError: If the loss is not finite; nothing is updated then.
        """
        total_steps = phase.epochs * self.steps_per_epoch
        lr = phase.lr * lr_share(self.steps_in_phase, total=total_steps, config=self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        losses = self.objective(batch)
        total = weigh(losses, phase.weights)
        self._require_finite(total, losses, lr)
        self.accelerator.backward(total)
        norm = self.accelerator.clip_grad_norm_(self.learning, self.config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.averaged.update_parameters(self.model)
        self.progress.step += 1
        self.progress.batch += 1
        self._add({**losses, "loss": total, "gradient_norm": norm})
        if (
            self.progress.batch % self.config.log_steps
            and self.progress.batch < self.steps_per_epoch
        ):
            return {}
        return {**self._take_means(), "learning_rate": lr}

    def note(self, values: Mapping[str, float], log: Log, group: str = "train") -> None:
        """Log values and remember them for a resumed run."""
        named = {f"{group}/{name}": value for name, value in values.items()}
        self.progress.history.append((self.progress.step, named))
        if self.accelerator.is_main_process:
            log(self.progress.step, named)

    def end_epoch(self, validation: Examples, phase: Phase, log: Log) -> None:
        """Measure the averaged weights on the validation split and keep the best."""
        self.progress.epoch, self.progress.batch = self.progress.epoch + 1, 0
        values = self._validate(validation, phase)
        self.note(values, log, group="validation")
        if self.progress.best is None or values["loss"] < self.progress.best:
            self.progress.best, self.best = values["loss"], self.averaged_state()

    def end_phase(self) -> None:
        """Go on to the next phase, from the best state of this one if another follows."""
        self.progress.phase, self.progress.epoch = self.progress.phase + 1, 0
        if self.progress.phase < len(self.phases):
            self.progress.best = None
            self.model.load_state_dict(self.best)
            self.averaged.module.load_state_dict(self.best)

    def averaged_state(self) -> State:
        """Copy the averaged weights and the model's buffers, on the CPU."""
        return _copy(self.averaged.module.state_dict())

    def save_if_due(self, folder: Path) -> None:
        """Save a checkpoint when the last is older than `checkpoint_seconds`."""
        if time.monotonic() - self.saved_at >= self.config.checkpoint_seconds:
            self.save(folder)

    def save(self, folder: Path) -> None:
        """Save a checkpoint."""
        now = time.monotonic()
        self.progress.seconds, self.clock = self.progress.seconds + now - self.clock, now
        states = {"model": _copy(self.model.state_dict()), "averaged": self.averaged_state()}
        states["best"] = self.best
        # A finished phase's optimizer is not the next one's.
        optimizer = self.optimizer.state_dict() if self.steps_in_phase else {}
        if self.accelerator.is_main_process:
            checkpoints.save(folder, Checkpoint(self.progress, states, optimizer))
        self.saved_at = time.monotonic()

    @torch.no_grad()
    def _validate(self, validation: Examples, phase: Phase) -> dict[str, float]:
        sums: dict[str, Tensor] = {}
        model = self.averaged.module.eval()
        size, world = self.share, self.accelerator.num_processes
        rows = torch.arange(self.accelerator.process_index, len(validation), world)
        for chunk in rows.split(size):
            with self.accelerator.autocast():
                losses = model.losses(self._to_device(validation.batch(chunk, None)))  # pyright: ignore[reportCallIssue]
            for name, value in {**losses, "loss": weigh(losses, phase.weights)}.items():
                sums[name] = sums.get(
                    name, torch.zeros((), device=value.device)
                ) + value.double() * len(chunk)
        total = {name: self.accelerator.reduce(value, "sum") for name, value in sums.items()}
        return {name: float(value) / len(validation) for name, value in total.items()}

    def _require_finite(self, total: Tensor, losses: Mapping[str, Tensor], lr: float) -> None:
        if torch.isfinite(total):
            return
        bad = [name for name, value in losses.items() if not torch.isfinite(value)] or ["total"]
        raise ValueError(
            f"step {self.progress.step}: the loss {', '.join(bad)} is not finite at learning rate "
            f"{lr:.3g}; lower the phase's lr or train.clip_norm, or set train.precision to 'no'"
        )

    def _add(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value.detach())) + value.detach()
        self.sums["count"] = self.sums.get("count", torch.zeros(())) + 1

    def _take_means(self) -> dict[str, float]:
        count = float(self.sums.pop("count"))
        means = {
            name: float(self.accelerator.reduce(v, "mean")) / count for name, v in self.sums.items()
        }
        self.sums = {}
        return means

    def _to_device(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        device = self.accelerator.device
        return {name: value.to(device, non_blocking=True) for name, value in batch.items()}

    def _say(self, text: str) -> None:
        if self.accelerator.is_main_process:
            print(text, file=sys.stderr)


class Objective(nn.Module):
    """Makes a model's losses its forward pass, which is what mixed precision and DDP wrap."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the model's named losses."""
        return self.model.losses(batch)  # pyright: ignore[reportCallIssue]


class Bar:
    """Progress: a bar on a terminal, a plain line every 10% elsewhere."""

    def __init__(self, name: str, *, total: int, done: int):
        self.is_terminal = sys.stderr.isatty()
        self.name, self.total, self.done, self.began = name, total, done, time.monotonic()
        self.bar = tqdm(desc=name, total=total, initial=done, disable=not self.is_terminal)

    def advance(self, values: Mapping[str, float]) -> None:
        """Count one update; show the loss where there is one."""
        self.bar.update()
        before, self.done = self.done, self.done + 1
        if values:
            self.loss = values["loss"]
            self.bar.set_postfix_str(f"loss {self.loss:.4f}")
        if not self.is_terminal and before * 10 // self.total < self.done * 10 // self.total:
            seconds = time.monotonic() - self.began
            loss = f", loss {self.loss:.4f}" if hasattr(self, "loss") else ""
            print(
                f"{self.name}: step {self.done}/{self.total}{loss}, {seconds:.0f} s",
                file=sys.stderr,
            )

    def close(self) -> None:
        """Leave the bar as it stands."""
        self.bar.close()


def weigh(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Add up named losses, each times its weight or 1."""
    return torch.stack([value * weights.get(name, 1.0) for name, value in losses.items()]).sum()


def lr_share(step: int, *, total: int, config: TrainConfig) -> float:
    """Return the share of the peak learning rate at a step: linear warm-up, then cosine."""
    warmup = min(config.warmup_steps, total // 2)
    if step < warmup:
        return (step + 1) / warmup
    angle = math.pi * (step - warmup) / max(1, total - warmup)
    return config.final_lr_share + (1 - config.final_lr_share) * 0.5 * (1 + math.cos(angle))


def _groups(parameters: list[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Decay matrices and kernels, not gains and biases."""
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def _freeze(model: nn.Module, frozen: list[str]) -> None:
    names = {name for name, _ in model.named_modules()}
    for name in frozen:
        if name not in names:
            raise ValueError(
                f"phases: no submodule {name!r} to freeze; correct `frozen` in params.yaml"
            )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not any(name.startswith(f"{part}.") for part in frozen))


def _average(decay: float) -> Callable[[Any, Any, Tensor], None]:
    """Return an update of averaged weights that forgets its start faster than `decay` at first."""

    def update(averaged: Any, current: Any, count: Tensor) -> None:
        weight = 1 - min(decay, (1 + float(count)) / (10 + float(count)))
        torch._foreach_lerp_(averaged, current, weight)

    return update


def _copy(state: Mapping[str, Tensor]) -> State:
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in state.items()
    }
