"""The training loop: phases, averaged weights, the best state, exact resume."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from vqpriors.core.phases import Phase
from vqpriors.trackers.base.progress_bar import Bar
from vqpriors.training.checkpoint import Progress, State
from vqpriors.training.config import RuntimeConfig, TrainConfig
from vqpriors.training.interruption import Interruption
from vqpriors.training.run import Examples, Log, Run
from vqpriors.training.weights import Look


@dataclass(frozen=True)
class Trained:
    """What a run leaves.

    Attributes:
        best: State with the lowest validation loss of the last phase, averaged weights.
        last: State after the last update, averaged weights.
        progress: Where the run stands: its history and time.

    Where the model is shared out by FSDP, the main process alone has the states.
    """

    best: State
    last: State
    progress: Progress


def train(
    model: nn.Module,
    *,
    phases: Mapping[str, Phase],
    config: TrainConfig,
    runtime: RuntimeConfig,
    training: Examples,
    validation: Examples,
    seed: int,
    folder: Path,
    log: Log,
    look: Look | None = None,
) -> Trained:
    """Train a model through its phases, from where the checkpoints in `folder` stand.

    The model has `losses(batch) -> {name: scalar}` and, if it takes options,
    `begin_phase(**options)`, whose defaults stand for the options that a phase does not name.

    Args:
        model: What to train, on the CPU.
        phases: The curriculum, in order.
        config: How to train.
        runtime: When to save checkpoints and whether to resume.
        training: Examples to learn from.
        validation: Examples that choose the best state.
        seed: Start of every random choice.
        folder: Where checkpoints are kept, used by no one else.
        log: Receives values by name at a step; on resume, all that was logged before.
        look: Looks at the averaged weights after each epoch, on the main process; what it returns
            is logged beside the validation losses.

    Raises:
        ValueError: If a loss or gradient is not finite, a split is too small, a phase names what
            the model lacks, or all checkpoints are damaged.
        StoppedError: If a signal asked for it; the run has been saved at the last logged step.
    """
    run = Run(
        model,
        phases=phases,
        config=config,
        runtime=runtime,
        seed=seed,
        num_examples=len(training),
    )
    run.require_validation(len(validation))
    with Interruption() as interruption:
        run.resume(folder, log)
        run.choose_batch_size(training)
        run.rehearse(validation)
        for name, phase in list(phases.items())[run.progress.phase :]:
            run.begin(phase)
            total, is_shown = phase.epochs * run.steps_per_epoch, run.accelerator.is_main_process
            bar = Bar(name, total=total, done=run.steps_in_phase, is_shown=is_shown)
            while run.progress.epoch < phase.epochs:
                for batch in run.batches(training, phase):
                    values = run.update(batch, phase)
                    bar.advance(values)
                    if values:
                        run.note(values, log)
                        run.save_if_due(folder)
                        run.stop_if_asked(folder, interruption)
                run.end_epoch(validation, phase, log, look)
                run.save_if_due(folder)
                run.stop_if_asked(folder, interruption)
            bar.close()
            run.end_phase()
            run.save(folder)
    return Trained(run.best, run.averaged_state(), run.progress)
