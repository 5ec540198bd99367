"""How does Ray Data's scheduler leave the processor to the training that it waits for?

While blocks wait for a slower consumer it asks again at once, without end, and takes most of a CPU.
Ray calls a callback in each of its rounds, but keeps the class of callbacks to itself
(`ray.data._internal`). Where a version of Ray lacks it the scheduler is left as it is: the stream
brings the same batches, for more CPU.
"""

import logging
import time

import ray
import ray.data

logger = logging.getLogger(__name__)

try:
    from ray.data._internal.execution.execution_callback import ExecutionCallback

    IS_KNOWN = True
except ImportError:
    ExecutionCallback = object  # type: ignore[assignment,misc]
    IS_KNOWN = False

PAUSE_S = 0.05
"""An item of the stream is seconds of training ahead."""


class Unhurried(ExecutionCallback):
    """Lets Ray Data's scheduler pause between its rounds."""

    def on_execution_step(self, *_: object, **__: object) -> None:
        """Pause; called by the scheduler once a round."""
        time.sleep(PAUSE_S)


def let_scheduler_pause() -> bool:
    """Have the executions of this process's datasets pause, and return whether Ray lets them."""
    callbacks = getattr(
        ray.data.DataContext.get_current(), "custom_execution_callback_classes", None
    )
    if not IS_KNOWN or callbacks is None:
        logger.info("Ray %s takes no callbacks: its scheduler never pauses", ray.__version__)
        return False
    if Unhurried not in callbacks:
        callbacks.append(Unhurried)
    return True
