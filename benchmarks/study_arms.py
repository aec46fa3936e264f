"""Arms of the study comparison: `python -m benchmarks.study_arms ARM TRIALS FOLDER`, two at once on one Optuna store.

Each is what one writes by hand around `benchmarks.arms`: the same networks, data, steps and validations.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from pathlib import Path

STEPS = 1600


def main() -> None:
    """Run trials until the store has enough, and print when the first began and the last ended."""
    warnings.simplefilter("ignore")
    arm, trials, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    import optuna
    import torch
    from optuna.storages import RDBStorage
    from optuna.study import MaxTrialsCallback

    from benchmarks import arms

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    os.chdir(folder)
    train = {"bare": arms.bare, "lightning": arms.lightning}[arm]
    if arm == "lightning":
        import pytorch_lightning  # noqa: F401  (start-up, not trial)

    def objective(trial: optuna.Trial) -> float:
        return train(STEPS, folder, trial.suggest_float("lr", 1e-4, 1e-2, log=True))

    storage = RDBStorage(f"sqlite:///{folder / 'optuna.db'}", engine_kwargs={"connect_args": {"timeout": 60}})
    study = optuna.create_study(study_name="bench", storage=storage, direction="maximize", load_if_exists=True)
    arms.data()  # start-up, not trial
    began = time.time()
    study.optimize(objective, callbacks=[MaxTrialsCallback(trials, states=None)])
    print(f"took {began} {time.time()}")


if __name__ == "__main__":
    main()
