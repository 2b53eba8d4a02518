"""A model of which each process holds a part: FSDP, version 2.

Layers are gathered as they are computed; gradients, optimizer and averaged weights stay in parts.
Whatever leaves a run is whole: states are gathered tensor by tensor, on the main process. What is
needed of torch is imported where it is, since it takes half a second that other runs don't need.

Reference:
    Zhao et al. 2023, PyTorch FSDP, arXiv:2304.11277.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

# Layers that are gathered on their own, by their class's name as accelerate's configs have it, and
# what else of them is called from outside. All other weights are gathered for the whole pass.
LAYERS: dict[str, tuple[str, ...]] = {
    "Block": (),
    "CrossAttention": ("keys_values",),
    "RecurrentLayer": (),
}
_EXACT = ("RecurrentLayer",)  # an LSTM computes in float32 whatever the precision


def layers_of(model: nn.Module) -> list[nn.Module]:
    """Return the layers that are gathered on their own, inner ones first."""
    return [m for m in reversed(list(model.modules())) if type(m).__name__ in LAYERS]


def mesh_of(device: torch.device) -> "DeviceMesh":
    """Return all processes of the launch in a row; each is on a device of this kind."""
    from torch.distributed.device_mesh import init_device_mesh

    return init_device_mesh(device.type, (dist.get_world_size(),))


def shard(
    model: nn.Module, *, mesh: "DeviceMesh", reshard_after_forward: bool, precision: str
) -> None:
    """Leave this process its part of a model, in place, on its device.

    Each layer moves there and is cut up before the next one does, so that the whole model never
    lies on one device. It computes in `losses` alone.

    Args:
        model: On the CPU, the same in all processes.
        mesh: The processes.
        reshard_after_forward: Whether to let go of gathered weights until the backward pass.
        precision: Of products. In "bf16" layers are gathered in it, else autocast would keep a
            copy of each from forward to backward pass; gradients are added up in float32.
    """
    from torch.distributed import fsdp

    settings: dict[str, Any] = {"mesh": mesh, "reshard_after_forward": reshard_after_forward}
    dtype = torch.bfloat16 if precision == "bf16" else None
    rounded = fsdp.MixedPrecisionPolicy(dtype, torch.float32, cast_forward_inputs=False)
    for layer in layers_of(model):
        name = type(layer).__name__  # FSDP changes it
        for method in LAYERS[name]:
            setattr(layer, method, _copied(getattr(layer, method)))
        policy = fsdp.MixedPrecisionPolicy() if name in _EXACT or dtype is None else rounded
        fsdp.fully_shard(layer, mp_policy=policy, **settings)
        for method in LAYERS[name]:
            fsdp.register_fsdp_forward_method(layer, method)
    fsdp.fully_shard(model, **settings)
    fsdp.register_fsdp_forward_method(model, "losses")


def _copied(method: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
    # FSDP hangs its hooks on what a layer returns, and warns of views.
    return lambda *values, **named: tuple(part.clone() for part in method(*values, **named))


def notice_frozen(model: nn.Module) -> None:
    """Tell FSDP which weights learn from now on; by itself it looks once, at the first pass."""
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.unshard()
            module.reshard()


def is_in_parts(value: Any) -> bool:
    """Return whether this process holds but a part of a tensor."""
    return hasattr(value, "full_tensor")


def whole(value: Any) -> Any:
    """Gather a tensor that lies in parts, in all processes; return anything else as it is."""
    return value.full_tensor() if is_in_parts(value) else value


def like(own: Any, value: Any) -> Any:
    """Cut this process's part out of a whole tensor, if `own` lies in parts, without gathering."""
    if not (is_in_parts(own) and own.shape == value.shape):
        return value
    from torch.distributed.tensor import DTensor

    parts = value.chunk(own.device_mesh.size())
    rank = own.device_mesh.get_local_rank()
    part = parts[rank] if rank < len(parts) else value[:0]
    local = part.to(own.device, copy=True, memory_format=torch.contiguous_format)
    return DTensor.from_local(
        local,
        own.device_mesh,
        own.placements,
        run_check=False,
        shape=value.shape,
        stride=value.contiguous().stride(),
    )


def load_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load whole weights and buffers, which every process has, into a model in parts or not."""
    own = model.state_dict()
    model.load_state_dict({name: like(own.get(name), value) for name, value in state.items()})


@torch.no_grad()
def load_from_main(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load whole weights and buffers that the main process alone has; a tensor at a time."""
    for name, own in model.state_dict().items():
        value = torch.empty(own.shape, dtype=own.dtype, device=own.device)
        if dist.get_rank() == 0:
            value.copy_(state[name])
        dist.broadcast(value, src=0)
        own.copy_(like(own, value))


def whole_optimizer(state: Mapping[str, Any]) -> dict[str, Any]:
    """Gather an optimizer's state dict on the CPU; the same where nothing lies in parts."""
    return {**state, "state": {key: dict(_gathered(v)) for key, v in state["state"].items()}}


def _gathered(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        yield name, whole(value).cpu() if is_in_parts(value) else value


def load_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Load a whole optimizer's state dict; each parameter takes what it holds of it."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    found = {
        key: {name: like(parameters[key], value) for name, value in values.items()}
        for key, values in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": found})
