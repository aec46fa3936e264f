"""Runs trained as one batch.

- `rule`: which runs
- `run_batch`: their training
- `stacking`: networks of one shape as a single network
- `dense`, `spatial`, `recurrent`: its layers
"""
