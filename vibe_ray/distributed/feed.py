"""The stream of steps that Ray Data brings to Ray Train's workers.

Ray's controller and its manager of data load this module at every start of a run, before the first
batch: it is kept from torch, which would take each of them seconds.
"""

from typing import Any

import ray.data
import ray.train

from vibe_ray.data.mixing import StepPlan
from vibe_ray.distributed.streams import step_dataset
from vibe_ray.runs.step_folders import last_step

STREAM = "steps"


class StepData(ray.train.DataConfig):
    """Makes the stream that begins where the last checkpoint stands, at every start of the workers.

    A stream of steps depends on how many workers share them, and here alone Ray says how many have
    come. So the data set that the trainer names holds nothing, and is replaced.
    """

    def __init__(self, plan: StepPlan, num_steps: int, run_dir: str) -> None:
        """Set up; reads nothing yet.

        Args:
            plan: Which windows come when.
            num_steps: Of the whole run.
            run_dir: Folder of its checkpoints.
        """
        options = ray.data.ExecutionOptions(preserve_order=True)
        super().__init__(execution_options=options)
        self._plan = plan
        self._num_steps = num_steps
        self._run_dir = run_dir

    def configure(
        self, datasets: dict[str, ray.data.Dataset], world_size: int, *args: Any, **kwargs: Any
    ) -> list[dict[str, ray.data.DataIterator]]:
        """Deal the steps that are left to the workers; called once per start."""
        start = last_step(self._run_dir)
        stream = step_dataset(self._plan, start, self._num_steps - start, world_size)
        return super().configure({STREAM: stream}, world_size, *args, **kwargs)
