"""The driver: gives planned runs to workers and alone writes what comes back."""

from __future__ import annotations

from knobs.launch.driver.display import Display
from knobs.launch.driver.driver import Driver

__all__ = ["Display", "Driver"]
