"""Results by number of threads."""

import torch


def by_threads(run, *numbers):
    """Call a function with each number of torch's threads; return its results."""
    before, found = torch.get_num_threads(), []
    try:
        for number in numbers:
            torch.set_num_threads(number)
            found.append(run())
    finally:
        torch.set_num_threads(before)
    return found
