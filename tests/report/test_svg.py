"""Smaller SVG files that look the same."""

from knobs.report.figures.svg import shrink_svg

DRAWING = b"""<?xml version="1.0"?>
<svg xmlns:xlink="http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg" width="9pt" height="9pt">
 <metadata>when</metadata>
 <defs><path id="dot" d="M 0.123456 -0.001
L -1.5 2.006 z"/></defs>
 <g id="figure_1"><g id="patch_1"><path d="M 0 0" style="fill: #ffffff"/></g>
  <g id="line_1">
   <use xlink:href="#dot" x="12.345678" y="1" style="fill: red; stroke-linejoin: miter"/>
   <use xlink:href="#dot" x="13" y="1" style="fill: red; stroke-linejoin: miter"/>
  </g>
  <g id="line_2" transform="translate(1.23456 2) scale(0.015625 -0.015625)">
   <path d="M 1 2" style="stroke-linecap: square"/><path d="M 2 3" style="stroke-linecap: square"/>
  </g>
 </g>
</svg>
"""


def test_what_no_viewer_needs_is_gone() -> None:
    text = shrink_svg(DRAWING).decode()
    assert text.startswith("<svg ")
    assert "metadata" not in text
    assert "figure_1" not in text
    assert '<g id="patch_1">' in text  # the white background, which a page removes
    assert 'd="M0.12 0L-1.5 2.01z"' in text
    assert 'x="12.35"' in text
    assert 'transform="translate(1.23 2) scale(0.015625 -0.015625)"' in text


def test_inherited_styles_are_written_once() -> None:
    text = shrink_svg(DRAWING).decode()
    assert text.count("fill:red;stroke-linejoin:miter") == 1
    assert text.count("stroke-linecap:square") == 2
    assert shrink_svg(shrink_svg(DRAWING)) == shrink_svg(DRAWING)
