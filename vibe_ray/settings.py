"""How are settings changed by name, and written? Of dataclasses of settings and sections of them.

`override` is the only way a setting changes by name; `--set`, Tune's spaces and files of settings
go through it, so a typing error anywhere ends in the same message with a suggestion.
"""

import dataclasses
import difflib
import json
import typing
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter

Settings = TypeVar("Settings")
"""A dataclass of settings and of sections of them."""
FEW = 20
"""Settings that an error may list."""


def override(config: Settings, changes: Mapping[str, Any]) -> Settings:
    """Return `config` with settings replaced by dotted name, e.g. `{"optim.generator_lr": 3e-5}`.

    In whichever order: settings that are checked against each other are replaced together.

    Raises:
        ValueError: A name that is not a setting (with the nearest one), or a value of a wrong type.
    """
    names = set(setting_names(config))
    for path in changes:
        if path not in names:
            raise ValueError(_unknown(path, sorted(names)))
    changed: Settings = _replaced(config, changes)
    return changed


def setting_names(config: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted name of every setting below `config`."""
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            yield from setting_names(value, f"{prefix}{item.name}.")
        else:
            yield prefix + item.name


def _replaced(section: Any, changes: Mapping[str, Any], prefix: str = "") -> Any:
    """Replace settings of a section by their names in it, all at once: some are checked together.

    `prefix` leads from the whole config to the section, for errors.
    """
    kinds = typing.get_type_hints(type(section))
    new: dict[str, Any] = {}
    inner: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for path, value in changes.items():
        name, _, rest = path.partition(".")
        if rest:
            inner[name][rest] = value
        else:
            new[name] = _convert(prefix + name, value, kinds[name])
    for name, part in inner.items():
        new[name] = _replaced(getattr(section, name), part, f"{prefix}{name}.")
    return dataclasses.replace(section, **new)


def _unknown(path: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(path, names, n=1, cutoff=0.4)
    all_of_them = "--dry-run prints all of them" if len(names) > FEW else ", ".join(names)
    hint = f"did you mean {near[0]!r}?" if near else all_of_them
    return f"no setting {path!r}; {hint}"


def _convert(path: str, value: Any, kind: Any) -> Any:
    """Convert text or JSON to a field's type, refusing what would lose something."""
    if typing.get_origin(kind) is tuple and isinstance(value, str):
        value = [item for item in value.split(",") if item]
    try:
        if isinstance(value, bool) and kind is not bool:
            raise ValueError("a truth value is not a number")
        return TypeAdapter(kind).validate_python(value)
    except ValueError:
        choices = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
        expected = " or ".join(map(repr, choices)) or getattr(kind, "__name__", str(kind))
        raise ValueError(f"{path} is {value!r}, expected {expected}") from None


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config, or other settings that are dataclasses, as plain JSON values."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of nested mappings by its dotted name."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
