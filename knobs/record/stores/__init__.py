"""How to reach the stores of the record.

locations         paths and addresses
mlflow_store      Tracker: reads and writes runs; rows: a run as read back
optuna_mirror     Optuna's database, rebuilt from MLflow
database          MLflow's SQLite file, created whole or not at all
retry, locks      patience with a busy store; locks between processes
mlflow_internals  every private name of MLflow
"""
