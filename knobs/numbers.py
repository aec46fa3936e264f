"""Print numbers for people: in the terminal, in MLflow and in reports. There is one function per purpose."""

from __future__ import annotations


def metric_text(value: float) -> str:
    """Return a metric, or an end of its interval: four decimals, or three digits if it is very large or very small."""
    return f"{value:.4f}" if abs(value) < 1e4 and (value == 0 or abs(value) >= 5e-5) else f"{value:.3g}"


def signed_text(value: float) -> str:
    """Return a difference of metrics: `metric_text` with its sign."""
    text = metric_text(abs(value))
    return f"+{text}" if value > 0 else f"-{text}" if value < 0 else text


def p_text(p: float) -> str:
    """Return a p-value with two significant digits."""
    return "< 0.0001" if p < 1e-4 else f"{p:#.2g}" if p < 0.995 else "1"


def plain_number(value: float) -> str:
    """Return any other number of a report: an integer without decimals, else four decimals or three digits."""
    if value == int(value) and abs(value) < 1e7:
        return str(int(value))
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 else f"{value:.3g}"


def share_text(value: float) -> str:
    """Return a share, an importance or a correlation with two decimals."""
    return f"{value:.2f}"


def count_text(count: int) -> str:
    """Return a large count with its thousands separated: `12,345`."""
    return f"{count:,}"


def heat_map_text(value: float) -> str:
    """Return a metric for a cell of a heat map, which has little room: three decimals, or two digits if it is small."""
    return f"{value:.3f}" if abs(value) >= 0.01 else f"{value:.2g}"


def knob_text(value: object, digits: int = 4) -> str:
    """Return a knob's value as a reader types it, a float with four significant digits."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    if isinstance(value, list | tuple):
        return ", ".join(knob_text(item, digits) for item in value)
    return str(value)


def recorded_knob_text(text: str) -> str:
    """Return a knob's value that MLflow recorded as text; if it is a float, with four significant digits."""
    try:
        return text if text.isdigit() else knob_text(float(text))
    except ValueError:
        return text


def number_in_name(value: float) -> str:
    """Return a number for a run's name, which has little room: two significant digits, a short exponent."""
    return f"{value:.2g}".replace("e-0", "e-")
