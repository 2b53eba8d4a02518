"""How well a prior predicts held-out codes, in units that can be compared."""

import math


def measure_likelihood(
    total_nats: float, *, standard_error: float, num_tokens: int, num_values: int
) -> dict[str, float]:
    """Express the negative log-likelihood of codes per token and per value of the picture.

    The last counts the codes alone, not what the tokenizer loses: priors over one tokenizer's codes
    can be compared by it, tokenizers can't.

    Args:
        total_nats: Over all pictures; exact, or an estimate of an upper bound.
        standard_error: Of the estimate; 0 where it is exact.
        num_tokens: Codes in all pictures.
        num_values: Pixels times channels in all pictures.

    Returns:
        "nats_per_token", with its "nats_standard_error", "perplexity" (its exponential) and
        "bits_per_dim".
    """
    nats = total_nats / num_tokens
    return {
        "nats_per_token": nats,
        "nats_standard_error": standard_error / num_tokens,
        "perplexity": math.exp(nats),
        "bits_per_dim": total_nats / math.log(2) / num_values,
    }
