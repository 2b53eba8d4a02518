"""What samplers share: their contract, logits, unmasking and captioning."""
