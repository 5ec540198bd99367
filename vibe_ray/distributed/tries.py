"""How often was each row of a job begun, whatever became of who began it?

Ray Data tries without end what ends its worker each time, such as frames too large for memory.
"""

from collections import Counter

MAX_TRIES = 3
"""Of a row whose worker was lost."""
LOST = f"its worker was lost {MAX_TRIES} times: too little memory for such frames?"


class Tries:
    """Counts; an actor of its own, so that it outlives the workers."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()

    def begin(self, name: str) -> int:
        """Return how often the row of a name has been begun, this time included."""
        self._begun[name] += 1
        return self._begun[name]
