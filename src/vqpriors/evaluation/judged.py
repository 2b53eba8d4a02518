"""The judge of a run: metrics in its features compare only between runs of the same judge."""

from vqpriors.evaluation.base.inputs import Inputs


def measure(inputs: Inputs) -> dict[str, str]:
    """Return "judge", the first digits of the judge's fingerprint; {} without a judge."""
    return {"judge": inputs.judge_name} if inputs.judge is not None else {}
