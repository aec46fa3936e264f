"""The `training` part: how long and how a network is trained."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from knobs.config.parts import Count, Part, Positive, part


@part
class Training(Part):
    """How long and how a network is trained."""

    part_name: ClassVar[str] = "training"

    max_steps: Count = 1000
    """Optimizer steps."""
    val_every: Count | None = None
    """Optimizer steps between validations. None: once per epoch."""
    clip_norm: Positive | None = None
    """Clip the gradient to this Euclidean norm."""
    precision: Literal["32", "64", "bf16-mixed"] = "32"
    """Floating-point format: float32, float64, or bfloat16 autocast over float32 weights."""
    threads: Count = 1
    """CPU threads of one run. Part of a run's identity, because another count rounds differently."""
    early_stop: Count | None = None
    """Stop after this many validations without a better value of the monitored metric."""
    monitor: str | None = None
    """Validation metric that chooses the checkpoint: any that the objective records. None: the data set's own."""
    keep: Literal["best", "last"] = "best"
    """Which weights a run ends with: the ones validation chose, or the last ones."""
    averaging: bool = False
    """Validate and keep the running mean of the weights over the steps (Ruppert 1988; Polyak & Juditsky 1992)."""
    average_from: Annotated[int, Field(ge=0)] = 0
    """Optimizer steps before the running mean begins. Until then the mean is the weights themselves."""
    init_from: str | None = None
    """Id of a recorded run whose weights are the initial ones, if their names and shapes fit. None: the model's own."""
    layer_norms: bool = False
    """Also record the gradient norm of the first and last weight matrix, as `grad_norm/first` and `grad_norm/last`."""
    cuda_graph: bool = False
    """Replay each optimizer step as a CUDA graph. For small networks on a GPU; its speed has not been measured."""
