"""The `Outcome` of a training: one that finished, and one that raised."""

from __future__ import annotations

import traceback
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from knobs.devices import device_kind
from knobs.errors import BadInputError, KnobsError, StoreError
from knobs.training.checkpoint import save_checkpoint
from knobs.training.curves_svg import draw_curves
from knobs.training.environment import environment
from knobs.training.messages import Outcome
from knobs.training.metrics import choose_numbers, evaluate_network
from knobs.training.monitor import PrunedError, StoppedError
from knobs.training.state import DivergedError
from knobs.training.tested import Tested, run_tests
from knobs.user_code import placed_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from knobs.config import RunConfig
    from knobs.data.in_memory import InMemoryData
    from knobs.training.messages import CurvePoint, TrainJob
    from knobs.training.state import Numbers, TrainingState


def conclude_training(
    job: TrainJob, config: RunConfig, network: nn.Module, state: TrainingState, data: InMemoryData, costs: Numbers
) -> Outcome:
    """Save the best weights, evaluate them on the splits that the job may read, and return the outcome.

    `network` is on the device and in the precision of `data`; its weights are replaced by the best ones.
    """
    if state.best_step < 0:
        raise BadInputError("training ended before its first validation")
    network.load_state_dict(state.best_state)
    summary = {"best/step": float(state.best_step)}
    summary |= {f"best/{name}": value for name, value in state.best_values.items()}
    chosen = choose_numbers(network, data.batches(data.val), config, data.device)
    summary |= {f"best/chosen/{name}": value for name, value in chosen.items()}
    train = evaluate_network(network, data.training_batches(), config, data.device, chosen)
    summary |= {f"best/train/{name}": value for name, value in train.items()}
    tested = run_tests(network, config, data, job.folder, chosen) if job.read_test else Tested()
    summary |= tested.values
    summary["parameters"] = float(sum(p.numel() for p in network.parameters()))
    summary |= {f"system/{name}": value for name, value in costs.items()}
    if peak := device_kind(data.device.type).peak_memory(data.device):
        summary["system/peak_memory_bytes"] = float(peak)
    best = job.folder / "best.ckpt"
    save_checkpoint({"config": job.config, "step": state.best_step, "network": state.best_state}, best)
    return Outcome(
        state="finished",
        best_step=state.best_step,
        summary=summary,
        checkpoint=best,
        left_out=tested.left_out,
        predictions=tested.predictions,
        sample=sample_text(network, config) if job.read_test else "",
    )


def sample_text(network: nn.Module, config: RunConfig) -> str:
    """Return the text that the data set makes with the trained network."""
    network.eval()
    with torch.inference_mode():
        return config.data.sample(network)


def outcome_of_error(error: Exception, device: torch.device, log: list[str]) -> Outcome:
    """Return the outcome of a training that raised `error`; append the traceback to `log` if it is unexpected.

    The message starts with the user's file and line if the error passed through user code.
    """
    match error:
        case PrunedError():
            return Outcome(state="pruned", message="pruned")
        case DivergedError():
            return Outcome(state="diverged", message=str(error))
        case StoppedError():
            return Outcome(state="interrupted", message="interrupted", checkpoint=error.path)
        case StoreError():
            return Outcome(state="unsaved", message=str(error))
        case KnobsError():
            return Outcome(state="failed", message=placed_text(error))
    kind = device_kind(device.type)
    if kind.is_out_of_memory(error):
        return Outcome(state="out_of_memory", message=str(error).strip().partition("\n")[0])
    lasting = kind.lasting_failure(error, device)
    log.append("".join(traceback.format_exception(error)))
    return Outcome(state="failed", message=placed_text(error), lasting_failure=lasting)


def complete_outcome(outcome: Outcome, points: Sequence[CurvePoint], log: list[str], device: torch.device) -> Outcome:
    """Return the outcome with its log, its drawn curves and the environment that it was trained in."""
    drawn = draw_curves(points, outcome.best_step)
    facts = {} if outcome.lasting_failure else environment(device)  # a poisoned device answers no question
    return replace(outcome, environment=facts, log="\n".join(log), curves_svg=drawn)
