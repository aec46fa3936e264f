"""A run's curves as a small SVG, written by hand: it takes a millisecond, a plotting library takes a second."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from knobs.training.messages import CurvePoint

WIDTH, HEIGHT = 320, 200
LEFT, TOP, RIGHT, BOTTOM = 46, 26, 12, 28
"""Size of a panel and of its margins, in pixels."""

MOST_POINTS = 200
"""Points drawn per curve, at most."""

COLOURS = ("#1f77b4", "#e07b00", "#2a8a3e", "#a03fa0", "#777777")

Curve = list[tuple[int, float]]


def draw_curves(points: Sequence[CurvePoint], best_step: int) -> str:
    """Return an SVG: losses in one panel, other validation metrics in a second. Empty if there is nothing to draw."""
    curves: dict[str, Curve] = {}
    for point in points:
        for name, value in point.values.items():
            if name.startswith(("val/", "train/")) and math.isfinite(value):
                curves.setdefault(name, []).append((point.step, value))
    losses = [name for name in ("val/loss", "train/loss") if name in curves]
    others = [name for name in curves if name not in losses]
    panels = [{name: curves[name] for name in names} for names in (losses, others) if names]
    if not panels:
        return ""
    drawn = [_panel(panel, index * WIDTH, best_step) for index, panel in enumerate(panels)]
    size = f'width="{WIDTH * len(panels)}" height="{HEIGHT}" viewBox="0 0 {WIDTH * len(panels)} {HEIGHT}"'
    style = 'font-family="sans-serif" font-size="11"'
    background = '<rect width="100%" height="100%" fill="#ffffff"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{background}{"".join(drawn)}</svg>\n'


def _panel(curves: dict[str, Curve], shift: int, best_step: int) -> str:
    points = [point for curve in curves.values() for point in curve]
    first, last = min(step for step, _ in points), max(step for step, _ in points)
    low, high = min(value for _, value in points), max(value for _, value in points)
    left, right = shift + LEFT, shift + WIDTH - RIGHT
    top, bottom = TOP, HEIGHT - BOTTOM

    def x(step: float) -> float:
        return left + (right - left) * (step - first) / max(1, last - first)

    def y(value: float) -> float:
        return bottom - (bottom - top) * ((value - low) / (high - low) if high > low else 0.5)

    parts = [f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="#444444"/>']
    for value in sorted({low, (low + high) / 2, high}):
        parts.append(f'<path d="M{left} {y(value):.1f}H{right}" stroke="#e4e4e4"/>')
        parts.append(_text(left - 4, y(value) + 4, f"{value:.3g}", "end"))
    parts += [_text(x(step), bottom + 14, str(step), "middle") for step in sorted({first, last})]
    parts.append(_text((left + right) / 2, bottom + 24, "step", "middle"))
    if first <= best_step <= last:
        parts.append(f'<path d="M{x(best_step):.1f} {top}V{bottom}" stroke="#999999" stroke-dasharray="3 3"/>')
    at = float(left)
    for (name, curve), colour in zip(curves.items(), COLOURS * len(curves), strict=False):
        line = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in _thinned(curve))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(_text(at, top - 10, name, "start", colour))
        at += 7.0 * len(name) + 8
    return "".join(parts)


def _thinned(curve: Curve) -> Curve:
    """Return at most `MOST_POINTS` of the points, evenly spread, including the last one."""
    stride = math.ceil(len(curve) / MOST_POINTS)
    return curve[::-stride][::-1]


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#444444") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
