"""How numbers are written for people: in the terminal, in MLflow's descriptions, in reports."""

from __future__ import annotations


def metric_text(value: float) -> str:
    """A metric or an interval's end, with the decimals of its neighbours."""
    return f"{value:.4f}" if abs(value) < 1e4 and (value == 0 or abs(value) >= 5e-5) else f"{value:.3g}"


def signed(value: float) -> str:
    """A difference."""
    text = metric_text(abs(value))
    return f"+{text}" if value > 0 else f"-{text}" if value < 0 else text
