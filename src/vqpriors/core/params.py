"""Params of a stage, recorded by DVC and validated by frozen pydantic schemas.

A stage gets only the params that dvc.yaml declares for it: reading an undeclared one is an error
instead of a stale result. All values are in params.yaml: no schema has a default.
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from vqpriors.core.params_file import find_error
from vqpriors.core.registry import load_kind

PARAMS = Path("params.yaml")


class Section(BaseModel):
    """Base of all schemas: frozen, every key required, no unknown keys, no type coercion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Seed = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
SectionT = TypeVar("SectionT", bound=Section)


@dataclass(frozen=True)
class Kind:
    """A kind that a param names: its name, its module and its validated config."""

    name: str
    module: ModuleType
    config: Any

    def changed(self, changes: Mapping[str, Any]) -> Any:
        """Return the config with some values replaced, validated like params.yaml.

        Raises:
            ValueError: As `Params.section`; names the key without its section.
        """
        try:
            return self.module.Config.model_validate(self.config.model_dump() | dict(changes))
        except ValidationError as error:
            raise ValueError(_first_error("", error).removeprefix(".")) from None


@dataclass(frozen=True)
class Params:
    """Declared params of one stage: a nested mapping with validating accessors."""

    values: dict[str, Any]

    def raw(self, path: str) -> Any:
        """Return the value at a dotted path.

        Raises:
            ValueError: If there is none.
        """
        value: Any = self.values
        for part in path.split("."):
            if not isinstance(value, dict) or part not in value:
                raise ValueError(
                    f"{path}: missing from params.yaml, or not declared for the stage in dvc.yaml"
                )
            value = value[part]
        return value

    def value(self, path: str, expected: Any) -> Any:
        """Return the value at a dotted path, validated by a type without coercion.

        Args:
            path: Dotted path of the value.
            expected: Its type, such as `float` or `Share`.

        Raises:
            ValueError: If the value is missing, of another type or out of range.
        """
        try:
            return TypeAdapter(expected).validate_python(self.raw(path), strict=True)
        except ValidationError as error:
            raise ValueError(_first_error(path, error)) from None

    def section(
        self, path: str, schema: type[SectionT], *, besides: Collection[str] = ()
    ) -> SectionT:
        """Return the section at a dotted path, validated by its schema.

        Args:
            path: Dotted path of the section.
            schema: Its schema.
            besides: Keys to ignore, because they are sections with schemas of their own.

        Raises:
            ValueError: If a key is missing, unknown, of the wrong type or out of range; names the
                first such key, the expectation and the value.
        """
        values = self.raw(path)
        if besides and isinstance(values, dict):
            values = {key: value for key, value in values.items() if key not in besides}
        return check(path, values, schema)

    def kind(self, chooser: str, package: str) -> Kind:
        """Load the kind that a param names, with the section of that name beside it as its config.

        Args:
            chooser: Dotted path of the param that names the kind, such as "prior.arch".
            package: The package of kinds, such as "vqpriors.priors".

        Raises:
            ValueError: If there is no such kind, or as `section`.
        """
        name = self.value(chooser, str)
        module = load_kind(package, name, param=chooser)
        section = f"{chooser.rpartition('.')[0]}.{name}"
        return Kind(name, module, self.section(section, module.Config))


def check(path: str, values: Any, schema: type[SectionT]) -> SectionT:
    """Validate a mapping by a schema; errors name keys below `path`.

    Raises:
        ValueError: As `Params.section`.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise ValueError(_first_error(path, error)) from None


def read_params(stage: str) -> Params:
    """Read the params that `dvc.yaml` declares for a stage.

    Under DVC the stage's name is taken from DVC, so that a renamed stage cannot read the params of
    another one.

    Args:
        stage: The stage's name, if DVC does not run it.

    Raises:
        ValueError: If params.yaml or dvc.yaml can't be read, or lacks a param that names a kind.
    """
    import dvc.api  # slow to import
    from dvc.exceptions import DvcException

    try:
        return Params(dvc.api.params_show(stages=os.environ.get("DVC_STAGE", stage)))
    except DvcException as error:
        found = find_error(PARAMS)
        raise ValueError(found or f"params.yaml: {error}; correct it, or dvc.yaml") from None


def read_section(path: str, schema: type[SectionT]) -> SectionT:
    """Read a section of params.yaml that no stage declares, since it does not affect results.

    Raises:
        ValueError: As `Params.section`, or if params.yaml can't be read.
    """
    import dvc.api
    from dvc.exceptions import DvcException

    try:
        return Params(dvc.api.params_show("params.yaml")).section(path, schema)
    except DvcException as error:
        raise ValueError(find_error(PARAMS) or f"params.yaml: {error}; correct it") from None


def _first_error(path: str, error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join([path, *(str(part) for part in first["loc"])])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return f"{key}: missing from params.yaml"
    if first["type"] == "extra_forbidden":
        return f"{key}: unknown key in params.yaml; remove it or correct its name"
    if first["type"] == "value_error":
        return f"{key}: {message}"
    if first["type"] == "string_type" and isinstance(first["input"], bool | int | float):
        text = str(first["input"]).lower() if isinstance(first["input"], bool) else first["input"]
        problem = f"input should be a string, got {first['input']!r}"
        return f"{key}: {problem}; write it in quotes, with -S as '{key}=\"{text}\"'"
    return f"{key}: {message[0].lower()}{message[1:]}, got {first['input']!r}"
