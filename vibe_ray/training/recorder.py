"""Keeps what a run has reached: checkpoints, its log, and word to whoever follows it.

The same in this process and in every worker of Ray Train; rank 0 writes.
"""

from collections.abc import Callable

from vibe_ray import storage
from vibe_ray.data.mixing import StepPlan
from vibe_ray.training.checkpoints import Cadence, Checkpointer, sweep
from vibe_ray.training.learner import Learner
from vibe_ray.training.reporting import RunLog
from vibe_ray.training.step_folders import last_checkpoint

Announce = Callable[[dict[str, float]], None]


class RunRecorder:
    """Records into a run's folder; a `loop.Recorder`.

    An epoch is announced when its log is written, its checkpoint may still be on its way. A run
    killed in between goes on from the checkpoint before, and takes the log back to there.
    """

    def __init__(self, run_dir: str, cadence: Cadence, plan: StepPlan, announce: Announce) -> None:
        """Set up; writes nothing yet.

        Args:
            run_dir: Folder of the run.
            cadence: When checkpoints are made within an epoch.
            plan: Names the data that the run is trained on.
            announce: Called with every epoch's metrics, by every rank.
        """
        self._run_dir = run_dir
        self._announce = announce
        about = {"data_hash": plan.data_hash, "encoder_id": plan.encoder_id}
        self._checkpoints = Checkpointer(run_dir, cadence, about)
        self._log = RunLog(run_dir)

    def resume(self, state: Learner) -> None:
        """Bring a new state to the run's last checkpoint, and the log back to the same moment."""
        last = last_checkpoint(self._run_dir)
        if last is not None:
            with storage.local_copy(last) as directory:
                state.load(directory)
        if state.rank == 0:
            sweep(self._run_dir)
            self._log.restart(state.history)

    def step(self, state: Learner) -> None:
        """Make a checkpoint if one is due."""
        self._checkpoints.after_step(state)

    def epoch(self, state: Learner) -> None:
        """Make a checkpoint, write the log, announce."""
        self._checkpoints.save(state)
        if state.rank == 0:
            self._log.append(state.history)
        self._announce(state.history[-1])

    def close(self) -> None:
        """Wait until all is stored."""
        self._log.close()
        self._checkpoints.wait()
