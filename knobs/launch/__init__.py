"""Driving: one process plans and records, workers train."""
