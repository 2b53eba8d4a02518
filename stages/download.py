"""Bring the data set that `data.name` names to one schema, in `data/images/`."""

from pathlib import Path

from stages import run
from vqpriors.core.artifact import new_folder
from vqpriors.core.params import Params, Seed
from vqpriors.sources.base.preparing import DatasetConfig, DecodingConfig, prepare, section_path


def main(params: Params) -> None:
    """Read a source and write its pictures as an image set."""
    section = section_path(params)
    seed = params.value("seed", Seed)
    recipe = params.section(section, DatasetConfig)
    decoding = params.section("data.decoding", DecodingConfig)
    kind = params.kind(f"{section}.source", "vqpriors.sources")
    source = kind.module.build(kind.config, seed=seed, param=f"{section}.{kind.name}")
    with new_folder(Path("data/images")) as folder:
        summary = prepare(source, recipe, decoding, param=section, seed=seed, folder=folder)
    print(f"{section}: {summary}")


if __name__ == "__main__":
    run("download", main)
