"""Train the judge, a classifier of the real images' attributes, in `data/judge/`."""

from pathlib import Path

from stages import run
from vqpriors.core.artifact import save_model
from vqpriors.core.params import Params, Section
from vqpriors.data.images import read_images, read_source
from vqpriors.judge.labels import class_lists, label_matrix
from vqpriors.judge.network import Judge, JudgeConfig
from vqpriors.training.config import TrainConfig
from vqpriors.training.image_examples import ImageExamples
from vqpriors.training.session import Job, session

IMAGES = Path("data/images")
JUDGE = Path("data/judge")


class JudgeParams(Section):
    """`judge` of params.yaml."""

    network: JudgeConfig
    train: TrainConfig


def main(params: Params) -> None:
    """Train on real images only; a data set without attributes gets a judge that judges nothing."""
    classes = class_lists(read_images(IMAGES, "train").attributes)
    with session("train_judge", params) as work:
        if not classes:
            work.log(0, {"attributes": 0})  # DVC misses the curves where there is none at all
            save_model(JUDGE, config={"classes": {}}, weights={})
            print("the images have no attributes: there is nothing to judge")
            return
        job = prepare(params)
        trained = job.run(work)
        if work.is_main:
            work.report(trained, {})
            save_model(JUDGE, config=job.description, weights=trained.best, last=trained.last)


def prepare(params: Params) -> Job:
    """Build the judge and its examples."""
    judging = params.section("judge", JudgeParams)
    network = judging.network
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
    return Job(
        judge,
        phases=network.phases,
        config=judging.train,
        training=examples["train"],
        validation=examples["validation"],
        description=judge.config,
    )


if __name__ == "__main__":
    run("train_judge", main)
