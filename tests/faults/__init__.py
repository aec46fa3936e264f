"""Fault injection: real commands, real processes, real signals, real stores; and one audit of what is left."""
