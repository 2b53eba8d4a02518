"""The choice of a sampler for a prior, by the primitive that the prior offers."""

from vqpriors.core.registry import kind_names, load_kind

PACKAGE = "vqpriors.sampling"
PARAM = "sample.sampler"
AUTO = "auto"


def choose_sampler(name: str, primitive: str) -> str:
    """Return the kind of sampler for a prior.

    Args:
        name: A kind, or "auto" for the default sampler of the primitive.
        primitive: The prior's primitive: "stepwise" or "masked".

    Raises:
        ValueError: If there is no such sampler, or it needs another primitive.
    """
    names = kind_names(PACKAGE) if name == AUTO else [name]
    modules = {kind: load_kind(PACKAGE, kind, param=PARAM) for kind in names}
    fitting = [kind for kind, module in modules.items() if primitive == module.PRIMITIVE]
    if name == AUTO:
        fitting = [kind for kind in fitting if modules[kind].IS_DEFAULT]
    if not fitting:
        raise ValueError(f"{PARAM}: {name} can't sample from a {primitive} prior; set it to {AUTO}")
    return fitting[0]
