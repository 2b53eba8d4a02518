"""Sample quality by number of decoding steps."""

import pandas as pd

from vqpriors.data.samples import read_comparisons
from vqpriors.evaluation.adherence import measure_adherence
from vqpriors.evaluation.base.inputs import Inputs
from vqpriors.evaluation.distances import measure_distances


def table(inputs: Inputs) -> pd.DataFrame:
    """Return "steps" and, if there is a judge, "adherence" and "frechet_distance"."""
    rows = []
    for part in read_comparisons(inputs.data / "samples"):
        row: dict[str, float] = {"steps": part.steps}
        if inputs.judge is not None:
            adherence = measure_adherence(inputs, part.prompts, part.pixels)
            distances = measure_distances(inputs, part.pixels)
            row |= {name: adherence[name] for name in ("adherence",) if name in adherence}
            row |= {"frechet_distance": distances["frechet_distance"]}
        rows.append(row)
    return pd.DataFrame(rows, columns=None if rows else ["steps"])
