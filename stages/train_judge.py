"""Train the judge, a network that is used to evaluate only, on real images: `data/judge/`."""

from pathlib import Path

from stages import run
from vqpriors.core.artifact import save_model
from vqpriors.core.params import Params
from vqpriors.core.registry import kind_names, load_kind
from vqpriors.data.images import read_images
from vqpriors.judge.base.judge import PACKAGE, choose_kind, describe_judge
from vqpriors.training.config import read_train_config
from vqpriors.training.image_examples import ImageExamples
from vqpriors.training.session import TrainingTask, open_session

IMAGES = Path("data/images")
JUDGE = Path("data/judge")


def main(params: Params) -> None:
    """Train on real images only; if they have no attributes and no captions, save no judge."""
    with open_session("train_judge", params) as session:
        task = prepare(params)
        if task is None:
            session.log(0, {"attributes": 0})  # DVC requires at least one curve
            save_model(JUDGE, config=describe_judge(None, None), weights={})
            print("the images have neither attributes nor captions to tell apart: no judge")
            return
        trained = task.run(session)
        if session.is_main:
            if not task.phases:
                session.log(0, {"phases": 0})  # DVC requires at least one curve
            session.report(trained, {})
            last = trained.last if task.phases else None
            save_model(JUDGE, config=task.description, weights=trained.best, last=last)


def prepare(params: Params) -> TrainingTask | None:
    """Build the judge and its examples; None if there is nothing to learn from."""
    for name in kind_names(PACKAGE):  # check all: they are params of the stage
        params.section(f"judge.{name}", load_kind(PACKAGE, name, param="judge.kind").Config)
    training = read_images(IMAGES, "train")
    kind = choose_kind(params.value("judge.kind", str), training)
    if kind is None:
        return None
    module = load_kind(PACKAGE, kind, param="judge.kind")
    config = params.section(f"judge.{kind}", module.Config)
    judge = module.build(config, training=training)
    images = {"train": training, "validation": read_images(IMAGES, "validation")}
    examples = {
        split: ImageExamples(part.pixels, targets=module.targets(judge, part), shift=config.shift)
        for split, part in images.items()
    }
    return TrainingTask(
        judge,
        phases=config.phases,
        config=read_train_config(params, "judge.train"),
        training=examples["train"],
        validation=examples["validation"],
        description=describe_judge(kind, judge),
    )


if __name__ == "__main__":
    run("train_judge", main)
