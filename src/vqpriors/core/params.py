"""The params of a stage, exactly as DVC records them, checked against frozen schemas.

A stage sees only what `dvc.yaml` declares for it, so a param that it reads without declaring
is an error at once instead of a result that goes stale. Values live in params.yaml alone:
no schema has a default.
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from vqpriors.core.registry import load_kind


class Section(BaseModel):
    """A section of params.yaml: frozen, every key required, no other key allowed, no coercion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Seed = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
SectionT = TypeVar("SectionT", bound=Section)


@dataclass(frozen=True)
class Kind:
    """A kind that a param chose: its name, its module and its checked config."""

    name: str
    module: ModuleType
    config: Any

    def changed(self, changes: Mapping[str, Any]) -> Any:
        """Return the config with some values changed, checked as params.yaml is.

        Raises:
            ValueError: As `Params.section`; names the key alone.
        """
        try:
            return self.module.Config.model_validate(self.config.model_dump() | dict(changes))
        except ValidationError as error:
            problem = _explain("", error).removeprefix(".")
            raise ValueError(problem.partition("; change it")[0]) from None


@dataclass(frozen=True)
class Params:
    """The declared params of one stage as a nested mapping, read through typed views."""

    values: dict[str, Any]

    def raw(self, path: str) -> Any:
        """Return what stands at a dotted path.

        Raises:
            ValueError: If nothing does.
        """
        value: Any = self.values
        for part in path.split("."):
            if not isinstance(value, dict) or part not in value:
                raise ValueError(
                    f"{path}: missing from params.yaml; add it (or declare it in dvc.yaml)"
                )
            value = value[part]
        return value

    def value(self, path: str, expected: Any) -> Any:
        """Return one scalar, checked against its type, such as `Share`, without coercion."""
        try:
            return TypeAdapter(expected).validate_python(self.raw(path), strict=True)
        except ValidationError as error:
            raise ValueError(_explain(path, error)) from None

    def section(
        self, path: str, schema: type[SectionT], *, besides: Collection[str] = ()
    ) -> SectionT:
        """Return the section at a dotted path, checked against its schema.

        Args:
            path: Dotted path of the section.
            schema: What it must look like.
            besides: Keys that stand in the section but are sections of their own.

        Raises:
            ValueError: For the first key that is missing, unknown, of the wrong type or out of
                range; names the key, the expectation and the value.
        """
        values = self.raw(path)
        if besides and isinstance(values, dict):
            values = {key: value for key, value in values.items() if key not in besides}
        return check(path, values, schema)

    def kind(self, chooser: str, package: str) -> Kind:
        """Load the kind that a param names, with the sibling section of that name as its config.

        Args:
            chooser: Dotted path of the param that names the kind, such as "prior.arch".
            package: The package of kinds, such as "vqpriors.priors".
        """
        name = self.value(chooser, str)
        module = load_kind(package, name, param=chooser)
        section = f"{chooser.rpartition('.')[0]}.{name}"
        return Kind(name, module, self.section(section, module.Config))


def check(path: str, values: Any, schema: type[SectionT]) -> SectionT:
    """Check a mapping against a schema; errors name keys below `path`.

    Raises:
        ValueError: As `Params.section`.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise ValueError(_explain(path, error)) from None


def read_params(stage: str) -> Params:
    """Read the params that `dvc.yaml` declares for a stage.

    Under DVC the stage's name comes from DVC itself, so that a renamed stage cannot read another's.

    Args:
        stage: The stage's name where DVC does not run it.

    Raises:
        ValueError: If params.yaml or dvc.yaml can't be read, or lacks a param that names a kind.
    """
    import dvc.api  # here, so that nothing else pays for it
    from dvc.exceptions import DvcException

    try:
        return Params(dvc.api.params_show(stages=os.environ.get("DVC_STAGE", stage)))
    except DvcException as error:
        raise ValueError(f"params.yaml: {error}; correct it (or dvc.yaml)") from None


def read_section(path: str, schema: type[SectionT]) -> SectionT:
    """Read a section of params.yaml that no stage declares, because it changes no result.

    Raises:
        ValueError: As `Params.section`, or if params.yaml can't be read.
    """
    import dvc.api
    from dvc.exceptions import DvcException

    try:
        return Params(dvc.api.params_show("params.yaml")).section(path, schema)
    except DvcException as error:
        raise ValueError(f"params.yaml: {error}; correct it") from None


def _explain(path: str, error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join([path, *(str(part) for part in first["loc"])])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return f"{key}: missing from params.yaml; add it"
    if first["type"] == "extra_forbidden":
        return f"{key}: unknown key; remove it or correct its name in params.yaml"
    if first["type"] == "value_error":
        return f"{key}: {message}; change it in params.yaml"
    expectation = f"{message[0].lower()}{message[1:]}"
    return f"{key}: {expectation}, got {first['input']!r}; change it in params.yaml"
