"""Evaluate tokenizer, prior and samples on a held-out split; write metrics and sheets."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd
from PIL.Image import Image
from pydantic import Field

from stages import run
from vqpriors.core.artifact import new_file, remove_leftovers
from vqpriors.core.params import Params, Section, Seed
from vqpriors.core.registry import kind_names, load_kind
from vqpriors.core.seeds import derived_seed
from vqpriors.data.samples import HeldOut, read_sheets
from vqpriors.evaluation.base.inputs import Inputs
from vqpriors.figures.sample_sheets import draw_sheets

DATA = Path("data")
FOLDER = Path("metrics/evaluate")
MEASURES = "vqpriors.evaluation"


class EvaluateConfig(Section):
    """`evaluate` of params.yaml."""

    split: HeldOut
    batch_size: int = Field(ge=1)
    bound_samples: int = Field(ge=2)
    bootstrap_samples: int = Field(ge=2)
    reliable_accuracy: float = Field(ge=0, le=1)


def main(params: Params) -> None:
    """Compute and write all metrics, tables and sheets; print the metrics."""
    config = params.section("evaluate", EvaluateConfig)
    seed = params.value("seed", Seed)
    inputs = Inputs(
        DATA,
        split=config.split,
        batch_size=config.batch_size,
        bound_samples=config.bound_samples,
        bootstrap_samples=config.bootstrap_samples,
        reliable_accuracy=config.reliable_accuracy,
        seed=derived_seed(seed, "evaluate"),
    )
    metrics: dict[str, Any] = {}
    tables: dict[str, pd.DataFrame] = {}
    for name in kind_names(MEASURES):
        module = load_kind(MEASURES, name, param="evaluate")
        if hasattr(module, "measure"):
            metrics |= {k: v for k, v in module.measure(inputs).items() if v == v}  # without NaN
        if hasattr(module, "table"):
            tables[name] = module.table(inputs)
    sheets = draw_sheets(
        read_sheets(DATA / "samples"),
        decode=inputs.decode,
        real=inputs.tokens,
        originals=inputs.real.pixels,
        seed=seed,
    )
    _write(metrics, tables, sheets)
    print("\n".join([*map(_line, metrics.items()), *inputs.left_out]))


def _line(metric: tuple[str, Any]) -> str:
    name, value = metric
    return f"{name:32}{value if isinstance(value, str) else format(value, '10.4g'):>10}"


def _write(
    metrics: dict[str, Any], tables: dict[str, pd.DataFrame], sheets: dict[str, Image]
) -> None:
    remove_leftovers(FOLDER)  # of killed runs, also of sheets that this run does not draw
    with ExitStack() as stack:  # if writing one file fails, none is replaced
        for name, sheet in sheets.items():
            sheet.save(stack.enter_context(new_file(FOLDER / f"{name}.png")), format="PNG")
        for name, table in tables.items():
            file = stack.enter_context(new_file(FOLDER / f"{name}.tsv"))
            table.to_csv(file, sep="\t", index=False)
        file = stack.enter_context(new_file(FOLDER / "metrics.json"))
        file.write_text(json.dumps(metrics, indent=2) + "\n")


if __name__ == "__main__":
    run("evaluate", main)
