"""Arms of the comparison of studies: `python -m benchmarks.speed.arms.study ARM TRIALS FOLDER`.

Two processes run at once on one Optuna store. Each arm is the code that one writes by hand around `arms/run.py`: the
same networks, data, steps and validations.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from pathlib import Path

STEPS = 1600


def main() -> None:
    """Run trials until the store holds enough, and print when the first began and the last ended."""
    warnings.simplefilter("ignore")
    arm, trials, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    import optuna
    import torch
    from optuna.storages import RDBStorage
    from optuna.study import MaxTrialsCallback

    from benchmarks.speed.arms import run

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    os.chdir(folder)
    train = {"bare": run.bare, "lightning": run.lightning}[arm]
    if arm == "lightning":
        import pytorch_lightning  # noqa: F401  (belongs to the start-up, not to a trial)

    def objective(trial: optuna.Trial) -> float:
        return train(STEPS, folder, trial.suggest_float("lr", 1e-4, 1e-2, log=True))

    storage = RDBStorage(f"sqlite:///{folder / 'optuna.db'}", engine_kwargs={"connect_args": {"timeout": 60}})
    study = optuna.create_study(study_name="bench", storage=storage, direction="maximize", load_if_exists=True)
    run.data()  # belongs to the start-up, not to a trial
    began = time.time()
    study.optimize(objective, callbacks=[MaxTrialsCallback(trials, states=None)])
    print(f"took {began} {time.time()}")


if __name__ == "__main__":
    main()
