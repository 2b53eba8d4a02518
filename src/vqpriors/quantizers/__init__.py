"""Quantizers, one kind per module; their contract is in `vqpriors.tokenizer.base.quantizer`."""
