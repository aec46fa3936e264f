"""Smaller SVG files that look the same: hundredths of a point, no empty groups, each style once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree import ElementTree

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"

SHEET = "patch_1"
"""Id of the white background, which the HTML page removes."""

_LONG = re.compile(r"-?\d+\.\d{3,}")


def shrink_svg(drawing: bytes) -> bytes:
    """Return an SVG that matplotlib wrote, without the parts that no viewer needs."""
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(drawing)
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    used = set(re.findall(r"#([\w-]+)", drawing.decode())) | {SHEET}
    _tidy(root, used)
    return ElementTree.tostring(root) + b"\n"


def _tidy(element: ElementTree.Element, used: Iterable[str]) -> None:
    element.tail = "\n"
    if not (element.text or "").strip():
        element.text = None
    for name, value in element.items():
        element.set(name, _short(name, value))
    if element.tag == f"{{{SVG}}}g" and element.get("id", "") not in used:
        element.attrib.pop("id", None)
    for child in list(element):
        _tidy(child, used)
    _unwrap(element)
    _share_style(element)


def _short(name: str, value: str) -> str:
    if name == "style":
        return re.sub(r"([:;]) ", r"\1", value)
    if name == "d":
        return re.sub(r" ?([A-Za-z]) ?", r"\1", " ".join(_LONG.sub(_rounded, value).split()))
    if name in ("x", "y") or value.startswith("translate("):
        head, scale, tail = value.partition("scale")
        return _LONG.sub(_rounded, head) + scale + tail
    return value


def _rounded(number: re.Match[str]) -> str:
    text = f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _unwrap(element: ElementTree.Element) -> None:
    """Replace child groups without attributes by their children."""
    for child in list(element):
        if child.tag == f"{{{SVG}}}g" and not child.attrib:
            place = list(element).index(child)
            element.remove(child)
            for i, inner in enumerate(child):
                element.insert(place + i, inner)


def _share_style(element: ElementTree.Element) -> None:
    """Move a style that all of a group's children have to the group."""
    styles = {child.get("style") for child in element}
    if element.tag != f"{{{SVG}}}g" or len(element) < 2 or len(styles) != 1 or "style" in element.attrib:
        return
    style, clipped = styles.pop(), any("clip-path" in child.attrib for child in element)
    marks = all(child.tag == f"{{{SVG}}}use" for child in element)
    if style is None or clipped or ("stroke-line" in style and not marks):
        return  # line ends and corners are not inherited: the drawing's style sheet sets them on every element
    element.set("style", style)
    for child in element:
        del child.attrib["style"]
