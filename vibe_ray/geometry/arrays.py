"""What type has an array of numbers, of whatever kind and shape?"""

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
