"""Fully sharded data parallelism (FSDP, version 2): each process holds a shard of a model.

Layers are gathered as they are computed; gradients, optimizer and averaged weights stay sharded.
Whatever leaves a run is a full tensor: state dicts are gathered tensor by tensor, on the main
process. torch's distributed modules are imported inside functions: they take half a second, which
other runs do not need to spend.

A module class sets these attributes:
    is_fsdp_unit: True if the module is gathered on its own. All other weights are gathered for
        the whole pass.
    fsdp_methods: Names of the unit's methods that other modules call, besides `forward`.
    fsdp_float32: True if the unit computes in float32 whatever the precision.

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


def fsdp_units(model: nn.Module) -> list[nn.Module]:
    """Return the modules that are gathered on their own, inner ones first."""
    return [m for m in reversed(list(model.modules())) if getattr(m, "is_fsdp_unit", False)]


def mesh_of(device: torch.device) -> "DeviceMesh":
    """Return the one-dimensional mesh of all processes, each on a device of this kind."""
    from torch.distributed.device_mesh import init_device_mesh

    return init_device_mesh(device.type, (dist.get_world_size(),))


def shard(
    model: nn.Module, *, mesh: "DeviceMesh", reshard_after_forward: bool, precision: str
) -> None:
    """Shard a model in place and move this process's shard to its device.

    Each unit is moved and sharded before the next one, so that the full model never lies on one
    device. The model's forward pass is `losses`.

    Args:
        model: On the CPU, the same in all processes.
        mesh: The processes.
        reshard_after_forward: Whether to free gathered weights until the backward pass.
        precision: Of matrix products. In "bf16" units are gathered in it, since autocast would
            otherwise keep a copy of each from the forward to the backward pass; gradients are
            reduced in float32.
    """
    from torch.distributed import fsdp

    settings: dict[str, Any] = {"mesh": mesh, "reshard_after_forward": reshard_after_forward}
    dtype = torch.bfloat16 if precision == "bf16" else None
    rounded = fsdp.MixedPrecisionPolicy(dtype, torch.float32, cast_forward_inputs=False)
    for unit in fsdp_units(model):
        methods = getattr(unit, "fsdp_methods", ())
        for method in methods:
            setattr(unit, method, _with_copied_outputs(getattr(unit, method)))
        is_float32 = getattr(unit, "fsdp_float32", False) or dtype is None
        policy = fsdp.MixedPrecisionPolicy() if is_float32 else rounded
        fsdp.fully_shard(unit, mp_policy=policy, **settings)
        for method in methods:
            fsdp.register_fsdp_forward_method(unit, method)
    fsdp.fully_shard(model, **settings)
    fsdp.register_fsdp_forward_method(model, "losses")


def _with_copied_outputs(method: Callable[..., tuple[Tensor, ...]]) -> Callable[..., Any]:
    # FSDP adds hooks to a unit's outputs, and warns if they are views.
    return lambda *values, **named: tuple(part.clone() for part in method(*values, **named))


def refresh_requires_grad(model: nn.Module) -> None:
    """Have FSDP read `requires_grad` again; it does so only once, at the first pass."""
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.unshard()
            module.reshard()


def is_sharded(value: Any) -> bool:
    """Return whether this process holds only a shard of a tensor."""
    return hasattr(value, "full_tensor")


def full_tensor(value: Any) -> Any:
    """Gather a sharded tensor, in all processes; return anything else unchanged."""
    return value.full_tensor() if is_sharded(value) else value


def shard_like(own: Any, value: Any) -> Any:
    """Return this process's shard of a full tensor if `own` is sharded, without communication."""
    if not (is_sharded(own) and own.shape == value.shape):
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
    """Load a full state dict, which every process has, into a model, sharded or not."""
    own = model.state_dict()
    model.load_state_dict({name: shard_like(own.get(name), value) for name, value in state.items()})


@torch.no_grad()
def load_from_main(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a full state dict, which only the main process has, tensor by tensor."""
    for name, own in model.state_dict().items():
        value = torch.empty(own.shape, dtype=own.dtype, device=own.device)
        if dist.get_rank() == 0:
            value.copy_(state[name])
        dist.broadcast(value, src=0)
        own.copy_(shard_like(own, value))


def full_optimizer_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """Gather an optimizer's state dict on the CPU; unchanged if nothing is sharded."""
    return {**state, "state": {key: dict(_gathered(v)) for key, v in state["state"].items()}}


def _gathered(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        yield name, full_tensor(value).cpu() if is_sharded(value) else value


def load_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Load an optimizer's full state dict; each process takes its shards of it."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    sharded = {
        key: {name: shard_like(parameters[key], value) for name, value in values.items()}
        for key, values in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": sharded})
