"""The driver: gives planned runs to workers and alone writes what comes back."""
