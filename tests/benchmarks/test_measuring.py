import math

import pytest

from tests.benchmarks.measuring import Report, worst


@pytest.mark.parametrize("errors", [(math.nan, 1.0), (1.0, math.nan), (math.inf, math.nan, 2.0)])
def test_an_error_that_is_no_number_is_the_worst(errors: tuple[float, ...]) -> None:
    assert not math.isfinite(worst(errors))
    with pytest.raises(ArithmeticError, match="expected finite"):
        Report(title="a step").require("losses", worst(errors), 1e-5)


def test_the_worst_of_numbers_is_the_largest() -> None:
    assert worst(iter((1.0, 3.0, 2.0))) == 3.0


def test_infinite_errors_fail_where_there_is_no_bound() -> None:
    with pytest.raises(ArithmeticError, match="losses is inf"):
        Report(title="a step").require("losses", math.inf, math.inf)
