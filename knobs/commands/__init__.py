"""The command line: one module per command, with its arguments beside its action."""
