"""Pools: the workers of an engine, the messages they exchange with the driver, and the devices they hold."""
