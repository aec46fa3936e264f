"""Reach the stores of the record: MLflow, Optuna, the files around them."""
