"""Convert the data set that `data.name` names to the common image schema, in `data/images/`."""

from pathlib import Path

from stages import run
from vqpriors.core.artifact import new_folder
from vqpriors.core.params import Params, Seed
from vqpriors.sources.base.preparing import DatasetConfig, DecodingConfig, prepare, section_path


def main(params: Params) -> None:
    """Read the pictures of a source and write them as an image set."""
    section = section_path(params)
    seed = params.value("seed", Seed)
    config = params.section(section, DatasetConfig)
    decoding = params.section("data.decoding", DecodingConfig)
    kind = params.kind(f"{section}.source", "vqpriors.sources")
    source = kind.module.build(kind.config, seed=seed, param=f"{section}.{kind.name}")
    with new_folder(Path("data/images")) as folder:
        summary = prepare(source, config, decoding, param=section, seed=seed, folder=folder)
    print(f"{section}: {summary}")


if __name__ == "__main__":
    run("download", main)
