"""knobs: neural-network experiments you can trust."""
