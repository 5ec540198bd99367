"""A trial in Ray's hands: what its process does, what it claims, and how many run at once.

Ray's traps that shaped this file: a trial's own process is a second claim on the cluster beside its
workers, so trials are counted, never left to queue for what they hold; Tune moves into a folder of
each trial, where relative paths would end nowhere.
"""

import dataclasses
import json

from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback

from vibe_ray import storage
from vibe_ray.config import from_dict
from vibe_ray.distributed.launch import train
from vibe_ray.runs.claims import RUN_FILE
from vibe_ray.runs.log import write_failure
from vibe_ray.training.launch import Launch
from vibe_ray.tuning.plan import Search

READER_CPUS = 0.5
"""What stays free for the readers of each running trial; of all together, at least one CPU."""


def num_concurrent(cpus: float, gpus: float, workers: int) -> int:
    """Return how many trials run at once, so that none waits for what another holds.

    Args:
        cpus: Of the whole cluster.
        gpus: Of the whole cluster; 0 when trials use none.
        workers: Per trial; 0 when each trial trains in its own process, on one CPU.
    """
    trials = cpus - 1
    if workers:
        trials = min(trials // workers, cpus // (workers + READER_CPUS))
    if gpus >= max(workers, 1):
        trials = min(trials, gpus // max(workers, 1))
    return max(int(trials), 1)


def trial_resources(workers: int, gpus: float) -> dict[str, float]:
    """Return the resources that a trial's own process asks Ray for.

    Beside workers that is one byte, since Tune refuses nothing: the CPUs are all for workers and
    readers.
    """
    if workers:
        return {"CPU": 0, "memory": 1}
    return {"CPU": 1, "GPU": 1} if gpus >= 1 else {"CPU": 1}


def run_trial(search: Search, params: dict[str, str]) -> None:
    """Body of every trial: train as the command does, from where the trial stands.

    A run that can only fail again leaves word of that, and ends in peace.
    """
    launch = Launch(
        name=params["trial"],
        storage=storage.join(search.directory, "trials"),
        workers=search.workers_per_trial,
        is_trial=True,
        callbacks=(TuneReportCallback(),) if search.workers_per_trial else (),
        observers=() if search.workers_per_trial else (tune.report,),
    )
    is_begun = storage.exists(storage.join(launch.run_dir, RUN_FILE))
    try:
        train(from_dict(json.loads(params["config"])), dataclasses.replace(launch, resume=is_begun))
    except (FloatingPointError, ValueError) as error:
        write_failure(launch.run_dir, error)
