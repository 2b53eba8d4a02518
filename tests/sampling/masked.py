"""Tiny masked priors, captions for them, and records of their calls."""

import torch

from tests import tiny
from tests.tiny import captions, randomised

ROWS = {"a": [2], "b": [3, 4], "c": [5, 6, 7], "": []}
NAMES = list("abcabca")


def encode(names):
    return captions(*(ROWS[name] for name in names))


def cftn(**changes):
    torch.manual_seed(0)  # for the weights that `randomised` leaves unchanged
    return randomised(tiny.cftn(**changes))


def cftn2(**changes):
    """Build one with open gates."""
    torch.manual_seed(0)
    prior = randomised(tiny.cftn2(**changes))
    for bridge in (*prior.to_image, *prior.to_text):
        bridge.raw_gate.data.fill_(0.2)
    return prior


class RecordingPrior:
    """A prior that records its calls.

    Attributes:
        latents: The latent of each call of `start`.
        calls: Tokens and selected cells of each call of `logits`.
    """

    def __init__(self, prior):
        self.prior, self.latents, self.calls = prior, [], []

    def __getattr__(self, name):
        return getattr(self.prior, name)

    def start(self, text, latent=None):
        self.latents.append(latent)
        return self.prior.start(text, latent)

    def logits(self, tokens, state, selected):
        self.calls.append((tokens.clone(), selected.mask.clone()))
        return self.prior.logits(tokens, state, selected)


class CallCounter:
    """Counts the forward calls of a module in a context."""

    def __init__(self, module):
        self.module, self.calls = module, 0

    def __enter__(self):
        self.hook = self.module.register_forward_hook(self._add)
        return self

    def __exit__(self, *error):
        self.hook.remove()

    def _add(self, *call):
        self.calls += 1


def num_masked(tokens, mask):
    return (tokens == mask).sum(1).tolist()
