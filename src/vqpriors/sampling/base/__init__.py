"""What all samplers and captioning share: the contract, logits and parallel decoding."""
