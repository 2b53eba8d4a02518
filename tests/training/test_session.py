"""What a training session hands to the training loop, and the seed of a stage."""

import torch

from tests.tiny import phase, runtime_config, train_config
from tests.training.test_loop import Numbers, Slope
from vqpriors.core.params import Params
from vqpriors.training import checkpoint as checkpoints
from vqpriors.training.session import Session, TrainingTask, seed_stage
from vqpriors.training.shuffling import epoch_order


def test_task_is_trained_with_the_seed_folder_and_runtime_of_its_session(tmp_path):
    training, validation = Numbers(*map(float, range(8))), Numbers(1.0)
    task = TrainingTask(
        Slope(),
        phases={"main": phase(epochs=2)},
        config=train_config(),
        training=training,
        validation=validation,
        description={},
        callback=lambda model: {"mark": float(model.first.weight)},
    )
    runtime = runtime_config(checkpoint_seconds=1e9, checkpoint_steps=1)
    session = Session(7, tmp_path, runtime, logger=None, trackers=[], is_main=True)
    trained = task.run(session)
    order = [row for rows, _ in training.requested for row in rows]
    expected = [epoch_order(8, seed=7, epoch=epoch).tolist() for epoch in (0, 1)]
    assert order == expected[0] + expected[1]
    assert [rows for rows, _ in validation.requested] == [[0], [0]]
    assert checkpoints.load(tmp_path).progress.step == 4
    marks = [v["validation/mark"] for _, v in trained.progress.history if "validation/mark" in v]
    assert marks[-1] == trained.last["first.weight"].item()


def test_random_state_of_a_stage_depends_on_its_name_and_the_seed():
    draws = {}
    for stage, seed in (("train_prior", 3), ("train_prior", 4), ("train_judge", 3)):
        for _ in range(2):
            assert seed_stage(stage, Params({"seed": seed})) == seed
            draw = torch.rand(3).tolist()
            assert draws.setdefault((stage, seed), draw) == draw
    assert len({tuple(draw) for draw in draws.values()}) == 3
