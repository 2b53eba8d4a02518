"""Estimate the cost of training with these params on this machine, from a few measured steps."""

import argparse
import contextlib
import importlib
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vqpriors.core.hardware import peak_memory
from vqpriors.core.params import read_params
from vqpriors.core.phases import Phase
from vqpriors.core.registry import kind_names
from vqpriors.inference.stage_sampler import SAMPLERS, SampleConfig, size_of_comparison
from vqpriors.training.run import TrainingRun
from vqpriors.training.session import TrainingTask, seed_stage

STAGES = ("train_tokenizer", "train_judge", "train_prior")
WARM_UP, MEASURED = 2, 4  # steps


@dataclass(frozen=True)
class Cost:
    """Estimated cost of a phase.

    Attributes:
        steps: Updates of the phase.
        flops: FLOPs of the matrix products of an update, forward and backward.
        seconds: Time of an update.
        validation_seconds: Time of a pass over the validation split.
        epochs: Epochs of the phase, with a pass over the validation split after each.
        preview_seconds: Time of a preview.
        previews: Previews in the phase.
    """

    steps: int
    flops: int
    seconds: float
    validation_seconds: float
    epochs: int
    preview_seconds: float = 0.0
    previews: int = 0

    @property
    def minutes(self) -> float:
        """Expected minutes of the phase."""
        training, validation = self.steps * self.seconds, self.epochs * self.validation_seconds
        return (training + validation + self.previews * self.preview_seconds) / 60


def main() -> None:
    """Print the plan of each training stage, or an error if its inputs are missing."""
    parser = argparse.ArgumentParser(prog="python -m tools.plan", description=__doc__)
    parser.add_argument("stage", nargs="*", help=f"{', '.join(STAGES)} (default: all)")
    wanted = parser.parse_args().stage or list(STAGES)
    if unknown := set(wanted) - set(STAGES):
        sys.exit(
            f"error: plan: {min(unknown)}: not a training stage; choose from {', '.join(STAGES)}"
        )
    failed = False
    for stage in wanted:
        try:
            lines = list(plan(stage))
        except (ValueError, OSError) as error:
            failed = True
            print(f"error: plan: {stage}: {error}", file=sys.stderr)
            continue
        print("\n".join([stage, *(f"  {line}" for line in lines)]))
    sys.exit(failed)


def plan(stage: str) -> Iterator[str]:
    """Yield the lines of a stage's plan, for the current data in `data/`.

    Raises:
        ValueError: If params are invalid, or an input of the stage is missing.
    """
    params = read_params(stage)
    seed = seed_stage(stage, params)
    task: TrainingTask | None = importlib.import_module(f"stages.{stage}").prepare(params)
    if task is None:
        yield "nothing to train on this data set"
        return
    size = sum(p.numel() for p in task.model.parameters())
    yield f"parameters  {size / 1e6:.2f} million"
    if not task.phases:
        yield "time        none: it is not trained"
        return
    run = TrainingRun(
        task.model,
        phases=task.phases,
        config=task.config,
        seed=seed,
        num_examples=len(task.training),
    )
    run.choose_batch_size(task.training)
    batch = run.progress.batch_size
    yield f"examples    {len(task.training):,} to train on, batches of {batch:,}"
    if codes := _tokens(task):
        yield f"tokens      {len(task.training) * codes:,} in an epoch, {codes:,} a picture"
    device, costs = run.accelerator.device, {}
    for name, phase in task.phases.items():
        costs[name] = measure(run, task, phase)
    if task.callback is not None:
        seconds = next(iter(costs.values())).preview_seconds
        count = sum(cost.previews for cost in costs.values())
        yield f"previews    {count} of {seconds:.1f} s"
    for name, cost in costs.items():
        rate = cost.flops / cost.seconds / 1e9
        yield (
            f"{name:<12}{cost.steps:,} steps of {cost.seconds:.3f} s: {cost.minutes:.1f} minutes; "
            f"{cost.flops / 1e9:,.1f} GFLOP a step, {rate:,.0f} GFLOP/s"
        )
    yield f"memory      {peak_memory(device) / 1e9:.1f} GB on {device}"
    if codes and task.model.primitive == "masked":
        rate = sum(c.flops for c in costs.values()) / sum(c.seconds for c in costs.values())
        yield compared_line(size, codes, rate)
    total = sum(cost.minutes for cost in costs.values())
    yield f"time        {total:.1f} minutes with {run.accelerator.num_processes} process(es)"


def compared_line(parameters: int, codes: int, rate: float) -> str:
    """Return the cost of comparing numbers of decoding steps in the stage `sample`.

    Args:
        parameters: Parameters of the prior.
        codes: Codes of a picture.
        rate: Operations per second.
    """
    config = read_params("sample").section("sample", SampleConfig, besides=kind_names(SAMPLERS))
    steps = list(dict.fromkeys(config.compared_steps))
    count, tflop = size_of_comparison(config, passes=sum(steps), parameters=parameters, codes=codes)
    return (
        f"comparison  in sample: {count:,} pictures with each of {len(steps)} numbers of steps, "
        f"{tflop:.1f} TFLOP: {tflop * 1e12 / rate / 60:.1f} minutes"
    )


def measure(run: TrainingRun, task: TrainingTask, phase: Phase) -> Cost:
    """Measure a few updates of a phase, which change the model, and a validation."""
    run.begin(phase)
    run.progress.epoch = run.progress.batch = 0
    batches = _endless_batches(run, task, phase)
    for _ in range(WARM_UP):
        run.update(next(batches), phase)
    began = time.perf_counter()
    for _ in range(MEASURED):
        run.update(next(batches), phase)
    _wait_for(run.accelerator.device)
    seconds = (time.perf_counter() - began) / MEASURED
    # The counter misses fused attention on CPUs; on GPUs the plain one would take more memory.
    is_cpu = run.accelerator.device.type == "cpu"
    plain = sdpa_kernel(SDPBackend.MATH) if is_cpu else contextlib.nullcontext()
    with plain, FlopCounterMode(display=False) as counter:
        run.update(next(batches), phase)
    began = time.perf_counter()
    run.validate(task.validation, phase, limit=run.global_batch_size)
    validation_seconds = time.perf_counter() - began
    factor = len(task.validation) / min(len(task.validation), run.global_batch_size)
    return Cost(
        steps=phase.epochs * run.steps_per_epoch,
        flops=counter.get_total_flops(),
        seconds=seconds,
        validation_seconds=validation_seconds * factor,
        epochs=phase.epochs,
        preview_seconds=_preview_seconds(run, task),
        previews=-(-phase.epochs // task.callback_epochs) if task.callback else 0,
    )


def _preview_seconds(run: TrainingRun, task: TrainingTask) -> float:
    if task.callback is None:
        return 0.0
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # for its figure
        run.weights.run_callback(task.callback)
    return time.perf_counter() - began


def _endless_batches(
    run: TrainingRun, task: TrainingTask, phase: Phase
) -> Iterator[dict[str, torch.Tensor]]:
    while True:
        for batch in run.batches(task.training, phase):
            yield batch
            run.progress.batch = 0  # `update` counts up


def _tokens(task: TrainingTask) -> int:
    codes = task.training.batch(torch.arange(1), None).get("codes")
    return 0 if codes is None else codes.shape[1]


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
