"""Masked priors as small as they come, captions for them, and a look at what they are asked."""

import torch

from tests import tiny
from tests.tiny import captions, randomised

ROWS = {"a": [2], "b": [3, 4], "c": [5, 6, 7], "": []}
NAMES = list("abcabca")


def encode(names):
    return captions(*(ROWS[name] for name in names))


def cftn(**changes):
    torch.manual_seed(0)  # for what `randomised` leaves as it is
    return randomised(tiny.cftn(**changes))


def cftn2(**changes):
    """Make one whose bridges are open."""
    torch.manual_seed(0)
    prior = randomised(tiny.cftn2(**changes))
    for bridge in (*prior.to_image, *prior.to_text):
        bridge.raw_gate.data.fill_(0.2)
    return prior


class Watched:
    """A prior whose calls are kept.

    Attributes:
        latents: What each `start` was given.
        passes: Tokens and wanted cells of each call of `logits`.
    """

    def __init__(self, prior):
        self.prior, self.latents, self.passes = prior, [], []

    def __getattr__(self, name):
        return getattr(self.prior, name)

    def start(self, text, latent=None):
        self.latents.append(latent)
        return self.prior.start(text, latent)

    def logits(self, tokens, state, is_wanted):
        self.passes.append((tokens.clone(), is_wanted.clone()))
        return self.prior.logits(tokens, state, is_wanted)


class Count:
    """Counts the passes of a module while the context lasts."""

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


def is_kept(*rows):
    """Turn rows of 0 and 1 into kept cells."""
    return torch.tensor(rows, dtype=torch.bool)
