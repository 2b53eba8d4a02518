"""Quality of the tokenizer on the evaluated split: reconstruction and codebook usage."""

from vqpriors.evaluation.base.inputs import Inputs
from vqpriors.tokenizer.base.metrics import measure_tokenization


def measure(inputs: Inputs) -> dict[str, float]:
    """Return "psnr", "ssim", "codebook_usage" and "codebook_perplexity" of the split."""
    return measure_tokenization(
        inputs.real.pixels,
        inputs.reconstructions,
        inputs.tokens.codes,
        codebook_size=inputs.spec.codebook_size,
    )
