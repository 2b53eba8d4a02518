"""Train the judge, a classifier of the real images' attributes, in `data/judge/`."""

from pathlib import Path

from stages import run
from vqpriors.core.artifact import save_model
from vqpriors.core.params import Params, Section
from vqpriors.data.images import read_images, read_source
from vqpriors.judge.labels import class_lists, label_matrix
from vqpriors.judge.network import Judge, JudgeConfig
from vqpriors.training.config import StageTrainConfig, read_train_config
from vqpriors.training.image_examples import ImageExamples
from vqpriors.training.session import TrainingTask, open_session

IMAGES = Path("data/images")
JUDGE = Path("data/judge")


class JudgeParams(Section):
    """`judge` of params.yaml."""

    network: JudgeConfig
    train: StageTrainConfig


def main(params: Params) -> None:
    """Train on real images only; without attributes, save a judge without classes."""
    classes = class_lists(read_images(IMAGES, "train").attributes)
    with open_session("train_judge", params) as session:
        if not classes:
            session.log(0, {"attributes": 0})  # DVC requires at least one curve
            save_model(JUDGE, config={"classes": {}}, weights={})
            print("the images have no attributes: the judge has no classes")
            return
        task = prepare(params)
        trained = task.run(session)
        if session.is_main:
            session.report(trained, {})
            save_model(JUDGE, config=task.description, weights=trained.best, last=trained.last)


def prepare(params: Params) -> TrainingTask:
    """Build the judge and its examples."""
    network = params.section("judge", JudgeParams).network
    images = {split: read_images(IMAGES, split) for split in ("train", "validation")}
    classes = class_lists(images["train"].attributes)
    judge = Judge(
        channels=read_source(IMAGES)["channels"],
        classes=classes,
        **network.model_dump(exclude={"shift", "phases"}),
    )
    examples = {
        split: ImageExamples(
            part.pixels, labels=label_matrix(part.attributes, classes), shift=network.shift
        )
        for split, part in images.items()
    }
    return TrainingTask(
        judge,
        phases=network.phases,
        config=read_train_config(params, "judge.train"),
        training=examples["train"],
        validation=examples["validation"],
        description=judge.config,
    )


if __name__ == "__main__":
    run("train_judge", main)
