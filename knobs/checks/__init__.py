"""Checks of content, in seconds: what `knobs check` does, and the cheap part that every launch begins with.

Launches import `studies` and `ablations` alone: the other modules import torch.
"""
