"""Plans: which runs to train, in which order."""
