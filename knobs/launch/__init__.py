"""Launching: from checked input to the record.

run, study, ablate, reproduce   the launches that commands call
session                         workers, stores, display and driver of a launch
driver                          gives planned runs to workers and alone writes what comes back
plans                           which runs to train, in which order
pools                           the workers of an engine, their messages and devices
"""
