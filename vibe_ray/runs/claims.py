"""A run's name is taken by one run: which, is written in its folder, and compared on `--resume`."""

from functools import reduce
from typing import Any

from vibe_ray import storage
from vibe_ray.config import TrainConfig, differences, from_saved, json_object
from vibe_ray.data.mixing import StepPlan
from vibe_ray.data.shards import read_manifest
from vibe_ray.runs.checkpoints import find_checkpoint
from vibe_ray.runs.owners import is_owner_file
from vibe_ray.settings import override, to_dict

RUN_FILE = "run.json"

ENCODERS = ("windows.encoder", "initial_frame_encoder")
PATHS = ("data.root", "body.path", "body.extra_regressor", "body.h36m_regressor", *ENCODERS)
STARTS = ("initial_regressor", "motion_prior")
"""Checkpoints from which a run starts, or their runs' folders."""
NO_PATHS = ("", "open", "scratch")


def pinned(config: TrainConfig, resumed: str | None = None) -> TrainConfig:
    """Return the config with settings that mean the same in every process, and at any later time.

    Local paths become absolute, since a worker's current folder is not the driver's; a run's folder
    becomes its best checkpoint of now, since that run may go on; of a run that has begun, the
    precision "auto" becomes the one that was found then.

    Args:
        config: As the user gave it.
        resumed: Folder of a run to be resumed: it stays with the checkpoints that it began with.

    Raises:
        FileNotFoundError: There is no checkpoint where one is named.
    """
    begun = _begun(resumed) if resumed is not None else {}
    changes = {}
    if begun and config.precision == "auto":
        changes["precision"] = begun.get("precision", TrainConfig.precision)
    for name in (*PATHS, *STARTS):
        path: Any = reduce(getattr, name.split("."), config)
        if path not in NO_PATHS:
            found = _checkpoint(name, path, begun.get(name, "")) if name in STARTS else path
            changes[name] = storage.absolute(found)
    return override(config, changes)


def _begun(run_dir: str) -> dict[str, Any]:
    """Return the config with which a run began, if one did."""
    path = storage.join(run_dir, RUN_FILE)
    if not storage.exists(path):
        return {}
    begun: dict[str, Any] = json_object(storage.read_bytes(path), path)["config"]
    return begun


def _checkpoint(name: str, path: str, begun: str) -> str:
    """Return what a path names: what it named when the run began, or if it did not, names now."""
    given = storage.absolute(path).rstrip("/")
    folder = given.removesuffix("/best").removesuffix("/last")
    if begun and begun in (given, storage.join(folder, begun.rsplit("/", 1)[-1])):
        return begun
    try:
        return find_checkpoint(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{name} is {path!r}: {error}") from None


def check_name(run_dir: str, resume: bool, config: TrainConfig, plan: StepPlan) -> None:
    """Refuse a run's name that is taken, unless the run is the same and to be resumed.

    Raises:
        FileNotFoundError: There is nothing to resume.
        FileExistsError: The folder holds something else than a run.
        ValueError: The name is taken, or the run was begun with another config or with other data.
    """
    path = storage.join(run_dir, RUN_FILE)
    if not storage.exists(path):
        if resume:
            raise FileNotFoundError(f"nothing to resume: no {RUN_FILE} in {run_dir}")
        found = [name for name in storage.visible_files(run_dir) if not is_owner_file(name)]
        if found:
            raise FileExistsError(
                f"{run_dir} is not empty, and no run: it holds {', '.join(found[:3])}"
                f"{', ...' if len(found) > 3 else ''}; --name NAME starts a run elsewhere"
            )
        return
    if not resume:
        raise ValueError(
            f"a run stands in {run_dir} already: --resume continues it, --name NAME starts another"
        )
    before = json_object(storage.read_bytes(path), path)
    changed = differences(from_saved(before["config"], path), config)
    changed.pop("data.root", None)  # what lies there is compared below
    if changed:
        named = ", ".join(f"{name} {old!r} -> {new!r}" for name, (old, new) in changed.items())
        raise ValueError(f"cannot resume {run_dir} with another config: {named}")
    hashes = before["data_hashes"]
    other = [name for name, value in _hashes(config, plan).items() if hashes.get(name) != value]
    if other:
        settings = ", ".join(name if "." in name else f"data.{name}" for name in other)
        raise ValueError(
            f"cannot resume {run_dir}: the manifests of {settings} have changed since it began"
        )


def claim_name(run_dir: str, config: TrainConfig, plan: StepPlan) -> None:
    """Write what the run is, last of all checks, so that a refused run leaves its name free."""
    facts = {
        "config": to_dict(config),
        "data_hash": plan.data_hash,
        "data_hashes": _hashes(config, plan),
    }
    storage.write_json(storage.join(run_dir, RUN_FILE), facts)


def _hashes(config: TrainConfig, plan: StepPlan) -> dict[str, str]:
    """Identify what the run learns from, and what decides its rates and its best checkpoint."""
    validation = read_manifest(storage.join(config.data.root, config.data.validation))
    return {**plan.manifest_hashes, "validation": validation.hash()}
