"""Discrete-token image generation: tokenizers, priors, samplers and their evaluation."""
