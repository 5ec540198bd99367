"""How is something measured here, and what does a measured figure look like?

Variants take turns within one process, repetition by repetition, so that whatever else the machine
does meets all of them. On a CPU the clock is the process's own CPU time with one thread, which does
not run while others have the core; on a GPU it is the time until the device is done.
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Work = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What all benchmarks are run with."""

    repetitions: int = 5
    device: str = "cpu"
    by_wall: bool = False
    """Go by the wall clock, as for several threads; it says something on a free machine."""

    @property
    def is_cuda(self) -> bool:
        return self.device == "cuda"

    @property
    def time_unit(self) -> str:
        return "ms" if self.is_cuda else "CPU ms"

    def clock(self) -> float:
        """Seconds, of which only differences mean something."""
        if self.is_cuda:
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.perf_counter() if self.by_wall else time.process_time()


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a figure should reach, and what has been reached before by a trial of the idea."""

    least: float | None = None
    most: float | None = None
    shown: str = ""

    def is_reached(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )

    def __str__(self) -> str:
        bound = f">= {self.least:g}" if self.least is not None else f"<= {self.most:g}"
        return f"{bound} (shown {self.shown})" if self.shown else bound


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table."""

    name: str
    unit: str
    values: Sequence[float]
    """One per repetition."""
    ratios: Sequence[float] = ()
    """How many times faster than the reference, repetition by repetition."""
    goal: Goal | None = None
    """Of the ratio where there is one, else of the value."""
    note: str = ""

    @property
    def figure(self) -> float:
        """What the goal is about."""
        return statistics.median(self.ratios or self.values)

    def to_dict(self) -> dict[str, Any]:
        plain: dict[str, Any] = {
            "name": self.name,
            "unit": self.unit,
            "min": min(self.values),
            "median": statistics.median(self.values),
            "values": list(self.values),
        }
        if self.ratios:
            plain |= {"ratio": statistics.median(self.ratios), "ratios": list(self.ratios)}
        if self.goal is not None:
            plain |= {"goal": str(self.goal), "is_reached": self.goal.is_reached(self.figure)}
        return plain | ({"note": self.note} if self.note else {})


@dataclass(kw_only=True)
class Report:
    """What one benchmark has to say."""

    title: str
    rows: list[Row] = field(default_factory=list)
    parity: dict[str, float] = field(default_factory=dict)
    """Errors that were below their bounds when these figures were taken."""
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"rows": [row.to_dict() for row in self.rows]}

    def require(self, name: str, error: float, bound: float) -> None:
        """Note an error against the reference.

        Raises:
            ArithmeticError: It is not finite or not below its bound: nothing measured here counts.
        """
        self.parity[name] = error
        if not (math.isfinite(error) and error <= bound):
            raise ArithmeticError(
                f"{self.title}: {name} is {error:.2e}, expected finite and <= {bound:.0e}"
            )


Times = dict[str, list[float]]


def take_turns(variants: Mapping[str, Work], options: Options, calls: int = 1) -> Times:
    """Run each variant once unmeasured, then in turns; seconds per call of each repetition."""
    for work in variants.values():
        work()
    times: Times = {name: [] for name in variants}
    for _ in range(options.repetitions):
        for name, work in variants.items():
            start = options.clock()
            for _ in range(calls):
                work()
            times[name].append((options.clock() - start) / calls)
    return times


def over(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Ratios of what was measured in the same repetitions."""
    return [a / b for a, b in zip(numerators, denominators, strict=True)]


def time_rows(
    times: Times, reference: str, options: Options, goals: Mapping[str, Goal] | None = None
) -> list[Row]:
    """Turn seconds into rows of milliseconds with ratios to the reference."""
    return [
        Row(
            name=name,
            unit=options.time_unit,
            values=[1e3 * second for second in seconds],
            ratios=[] if name == reference else over(times[reference], seconds),
            goal=(goals or {}).get(name),
        )
        for name, seconds in times.items()
    ]


def relative(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the norm of what was expected, in float64."""
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / expected.norm().clamp(min=1e-300))


def largest(found: Tensor, expected: Tensor) -> float:
    """Largest absolute difference."""
    return float((found.detach() - expected.detach()).abs().max())


def worst(errors: Iterable[float]) -> float:
    """Largest of some errors, NaN if one is NaN: `max` passes over those that are not first."""
    return max(errors, key=lambda error: math.inf if math.isnan(error) else error)
