"""How numbers are printed."""

import pytest

from knobs.numbers import (
    knob_text,
    metric_text,
    number_in_name,
    p_text,
    plain_number,
    recorded_knob_text,
    signed_text,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0000"),
        (0.93456, "0.9346"),
        (-1.5, "-1.5000"),
        (4e-5, "4e-05"),
        (12345.6, "1.23e+04"),
        (9999.9, "9999.9000"),
    ],
)
def test_a_metric_has_four_decimals_unless_it_is_very_small_or_large(value: float, text: str) -> None:
    assert metric_text(value) == text


def test_a_difference_carries_its_sign() -> None:
    assert [signed_text(value) for value in (0.25, -0.25, 0.0)] == ["+0.2500", "-0.2500", "0.0000"]


def test_a_p_value_has_two_digits() -> None:
    assert [p_text(p) for p in (0.0123, 0.5, 9e-5, 0.994, 0.996, 1.0)] == [
        "0.012",
        "0.50",
        "< 0.0001",
        "0.99",
        "1",
        "1",
    ]


def test_other_numbers_are_whole_if_they_can_be() -> None:
    assert [plain_number(v) for v in (3.0, 0.12345, 1e-4, 12345.5, 1e8)] == [
        "3",
        "0.1235",
        "0.0001",
        "1.23e+04",
        "1e+08",
    ]


def test_a_knob_is_printed_as_it_is_typed() -> None:
    values = (True, None, 0.123456, 1e-5, 7, "relu", (0.5, 2), [1, [2, None]])
    assert [knob_text(v) for v in values] == ["true", "none", "0.1235", "1e-05", "7", "relu", "0.5, 2", "1, 2, none"]


def test_a_recorded_knob_keeps_what_is_no_float() -> None:
    texts = ("0.123456", "128", "100000", "relu", "-", "[1, 2]", "True")
    assert [recorded_knob_text(t) for t in texts] == ["0.1235", "128", "100000", "relu", "-", "[1, 2]", "True"]


def test_a_number_in_a_runs_name_is_short() -> None:
    assert [number_in_name(value) for value in (0.00123, 3e-5, 0.5)] == ["0.0012", "3e-5", "0.5"]
