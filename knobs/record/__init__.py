"""What is recorded and how it is read back.

schema            every tag, kind, artifact and metric name
states            the one table of run states
definition        typed definitions of studies and ablations; define makes them from files
queries           which studies, ablations and runs are recorded, and which of them count
reader            the one reader: read_recorded gives a RecordedStudy or a RecordedAblation
runs              RecordedRun; a run's config from the record
curves            every recorded value of many runs
spaces            search spaces of trials; knob_range: their bounds in words
verdicts          verdicts on claims as recorded
stores            how to reach MLflow, Optuna and the files around them
"""
