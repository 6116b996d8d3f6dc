"""The training loop: any network that judges batches, any table of ratings, one process or many."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from numpy.typing import NDArray
from torch import Tensor, nn

from foveal.evaluation.correlation import plcc, srcc
from foveal.lab.models.base import Judgement
from foveal.lab.training.checkpoint import load_checkpoint, save_checkpoint
from foveal.lab.training.config import TrainingConfig
from foveal.lab.training.data import Batch, BatchSource
from foveal.lab.training.ema import MovingAverage
from foveal.lab.training.judging import Floats, Progress, judge
from foveal.lab.training.logs import LogKind, RunLog
from foveal.lab.training.losses import combined, gather_with_gradient
from foveal.lab.training.schedule import cosine_with_warmup

CHECKPOINT = "checkpoint.pt"
_FREE: Mapping[str, Any] = {"workers": 1, "checkpoint_steps": 1, "validation_batch": 1}


@dataclass(frozen=True)
class Epoch:
    """What an epoch came to.

    Attributes:
        epoch: counted from 1.
        losses: mean of each part of the loss.
        validation: SRCC and PLCC on the validation part, mean over the targets.
    """

    epoch: int
    losses: Mapping[str, float]
    validation: Mapping[str, float]


@dataclass(frozen=True)
class FitResult:
    """What a run came to.

    Attributes:
        epochs: of the whole run, also of those before it was interrupted.
        best: number of the epoch whose weights the network now has.
        validation: figures of that epoch.
        stopped_early: whether patience ended the run.
    """

    epochs: tuple[Epoch, ...]
    best: int
    validation: Mapping[str, float]
    stopped_early: bool


def fit(
    network: nn.Module,
    groups: Mapping[str, Sequence[nn.Parameter]],
    train: BatchSource,
    validation: BatchSource,
    config: TrainingConfig,
    *,
    folder: str | Path,
    log: LogKind = "csv",
    cpu: bool = False,
    progress: Progress | None = None,
) -> FitResult:
    """Train a network, and leave the best epoch's weights in it.

    A run that was killed goes on from its last checkpoint when it is called again with the same folder, and
    ends with the same weights as if it had never stopped (on the same machine). Started by ``accelerate
    launch`` it runs on several GPUs or machines: each process takes its part of every batch, and losses that
    compare images see the whole of it.

    Args:
        network: from a batch's ``views`` to a :class:`Judgement`.
        groups: trainable parameters by name of their group; all of them are in the network.
        train: what is learnt from.
        validation: what chooses the epoch; never the test part.
        config: the recipe.
        folder: for the checkpoint and the log; made if absent.
        log: kind of log.
        cpu: stay on the CPU where there is a GPU.
        progress: told of each step, in the first process only.

    Returns:
        The history, best epoch and its figures.

    Raises:
        ValueError: there are fewer training images than a batch holds, or a group is unknown.
        CheckpointError: the folder holds a damaged checkpoint, or that of another run.
        FloatingPointError: the loss is not a number.
    """
    run = _Run(
        network, groups, (train, validation), config, Path(folder), log=log, cpu=cpu, progress=progress
    )
    return run.fit()


class _Run:
    """The state of one call of :func:`fit`, whose arguments it takes."""

    def __init__(
        self,
        network: nn.Module,
        groups: Mapping[str, Sequence[nn.Parameter]],
        sources: tuple[BatchSource, BatchSource],
        config: TrainingConfig,
        folder: Path,
        *,
        log: LogKind,
        cpu: bool,
        progress: Progress | None,
    ) -> None:
        train, validation = sources
        self.train, self.validation, self.config, self.folder = train, validation, config, folder
        self.steps = len(train) // config.batch
        if not self.steps:
            raise ValueError(f"{len(train)} training images do not fill one batch of {config.batch}")
        if odd := set(config.group_lr) - set(groups):
            raise ValueError(f"group_lr names {sorted(odd)[0]!r}; groups are {', '.join(groups)}")
        precision = "no" if config.precision == "fp32" else config.precision
        # It remembers the precision of the last run in this process, and would refuse another one.
        AcceleratorState._reset_state()
        self.accelerator = Accelerator(mixed_precision=precision, cpu=cpu)
        processes = self.accelerator.num_processes
        if config.batch // config.accumulate % processes:
            raise ValueError(
                f"micro-batches of {config.batch // config.accumulate} images cannot be shared evenly by "
                f"{processes} processes"
            )
        self.network = network.to(self.accelerator.device)
        self.parameters = {
            name: parameter for name, parameter in self.network.named_parameters() if parameter.requires_grad
        }
        optimizer = torch.optim.AdamW(_optimizer_groups(groups, config))
        self.peaks = [float(group["lr"]) for group in optimizer.param_groups]
        self.wrapped, self.optimizer = self.accelerator.prepare(self.network, optimizer)
        self.average = MovingAverage(self.network, config.ema) if config.ema else None
        self.history: list[Epoch] = []
        self.best: dict[str, Any] = {"epoch": 0, "value": -math.inf, "weights": {}}
        self.step = 0
        self.sums: dict[str, float] = {}
        self.run = _identity(self.parameters, train, validation, config)
        self.progress = progress if self.accelerator.is_main_process else None
        folder.mkdir(parents=True, exist_ok=True)
        self._restore()
        self.log = RunLog(folder, log, first=self.step) if self.accelerator.is_main_process else None

    def fit(self) -> FitResult:
        """Run the epochs that are left."""
        stopped = self._out_of_patience()
        while len(self.history) < self.config.epochs and not stopped:
            self._train_epoch(len(self.history))
            self._end_epoch()
            stopped = self._out_of_patience()
        _put(self.parameters, self.best["weights"])
        if self.log is not None:
            self.log.close()
        validation = self.history[self.best["epoch"] - 1].validation
        return FitResult(tuple(self.history), self.best["epoch"], validation, stopped)

    def _train_epoch(self, epoch: int) -> None:
        self.wrapped.train()
        order = self.train.order(epoch)
        first = self.step - epoch * self.steps
        mine = [self._share(order, number) for number in range(first, self.steps)]
        parts = [part for step in mine for part in step]
        batches = self.train.batches(
            parts, augmentation=self.config.augmentation, epoch=epoch, workers=self.config.workers
        )
        for number, _ in enumerate(mine, start=first):
            self._train_step(batches)
            if self.step % self.config.checkpoint_steps == 0 and number + 1 < self.steps:
                self._save()

    def _share(self, order: NDArray[np.int64], number: int) -> list[NDArray[np.int64]]:
        """Micro-batches of this process in one step."""
        whole = order[number * self.config.batch : (number + 1) * self.config.batch]
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        return [
            np.array_split(micro, processes)[rank] for micro in np.array_split(whole, self.config.accumulate)
        ]

    def _train_step(self, batches: Iterator[Batch]) -> None:
        config = self.config
        # Chance in the network depends on the step alone, so that a resumed run repeats it.
        torch.manual_seed(_seed(config.seed, self.step, self.accelerator.process_index))
        factor = cosine_with_warmup(
            self.step, config.epochs * self.steps, round(config.warmup * config.epochs * self.steps)
        )
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor
        for micro in range(config.accumulate):
            last = micro == config.accumulate - 1
            # Gradients of several processes meet once a step.
            with nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                self._backward(next(batches).to(self.accelerator.device))
        if config.clip:
            self.accelerator.clip_grad_norm_(self.parameters.values(), config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        if self.average is not None:
            self.average.update(self.step - 1)
        self._tell()

    def _backward(self, batch: Batch) -> None:
        with self.accelerator.autocast():
            judgement: Judgement = self.wrapped(batch.views)
        quality, spread, rated = (
            gather_with_gradient(column.float())
            for column in (judgement.quality, judgement.spread, batch.rated)
        )
        losses = combined(quality, spread, rated, self.config.losses)
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total.detach()):
            raise FloatingPointError(
                f"the loss is {float(total.detach())} at step {self.step + 1}; "
                "lower lr, or set precision to fp32"
            )
        self.accelerator.backward(total / self.config.accumulate)
        for name, loss in losses.items():
            share = float(loss.detach()) / self.config.accumulate
            self.sums[name] = self.sums.get(name, 0.0) + share

    def _tell(self) -> None:
        done = self.step - len(self.history) * self.steps
        if self.log is not None:
            self.log.step(self.step, {name: total / done for name, total in self.sums.items()})
        if self.progress is not None:
            shown = ", ".join(f"{name} {total / done:.3f}" for name, total in self.sums.items())
            left = self.config.epochs * self.steps
            self.progress(self.step, left, f"epoch {len(self.history) + 1}: {shown}")

    def _end_epoch(self) -> None:
        averaged = self.average.swapped(self.network) if self.average is not None else nullcontext()
        with averaged:
            figures = self._validate()
            if figures[self.config.select] > self.best["value"]:
                self.best = {
                    "epoch": len(self.history) + 1,
                    "value": figures[self.config.select],
                    "weights": {name: p.detach().clone() for name, p in self.parameters.items()},
                }
        losses = {name: total / self.steps for name, total in self.sums.items()}
        self.history.append(Epoch(len(self.history) + 1, losses, figures))
        self.sums = {}
        if self.log is not None:
            self.log.epoch(self.step, losses, figures)
        self._save()

    def _validate(self) -> dict[str, float]:
        """Every process judges all validation images, so that all come to the same decision."""
        quality, _ = judge(
            self.network,
            self.validation,
            batch=self.config.validation_batch,
            workers=self.config.workers,
            precision=self.config.precision,
        )
        rated = self.validation.rated.numpy().astype(np.float64)
        figures: dict[str, list[float]] = {"srcc": [], "plcc": []}
        for predicted, scores in zip(quality.T, rated.T, strict=True):
            known = ~np.isnan(scores)
            for name, figure in (("srcc", srcc), ("plcc", plcc)):
                figures[name].append(_correlation(figure, predicted[known], scores[known]))
        return {name: float(np.mean(values)) for name, values in figures.items()}

    def _out_of_patience(self) -> bool:
        waited = len(self.history) - int(self.best["epoch"])
        return bool(self.config.patience) and waited >= self.config.patience

    def _save(self) -> None:
        if not self.accelerator.is_main_process:
            return
        state = {
            "step": self.step,
            "sums": self.sums,
            "history": [asdict(epoch) for epoch in self.history],
            "best": self.best,
            "weights": {name: p.detach() for name, p in self.parameters.items()},
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler is not None else None,
        }
        save_checkpoint(self.folder / CHECKPOINT, self.run, state)

    def _restore(self) -> None:
        state = load_checkpoint(self.folder / CHECKPOINT, self.run)
        if state is None:
            return
        self.step, self.sums, self.best = state["step"], state["sums"], state["best"]
        self.history = [Epoch(**epoch) for epoch in state["history"]]
        _put(self.parameters, state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if self.accelerator.scaler is not None and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])


def _correlation(figure: Callable[[Floats, Floats], float], predicted: Floats, rated: Floats) -> float:
    """A network that says the same of all images agrees with nobody; that must not end a run."""
    if len(predicted) and predicted.min() == predicted.max():
        return 0.0
    return figure(predicted, rated)


def _optimizer_groups(
    groups: Mapping[str, Sequence[nn.Parameter]], config: TrainingConfig
) -> list[dict[str, Any]]:
    made = []
    for name, parameters in groups.items():
        lr = config.group_lr.get(name, config.lr)
        matrices = [parameter for parameter in parameters if parameter.ndim > 1]
        vectors = [parameter for parameter in parameters if parameter.ndim <= 1]
        if matrices:
            made.append({"params": matrices, "lr": lr, "weight_decay": config.weight_decay})
        if vectors:
            made.append({"params": vectors, "lr": lr, "weight_decay": 0.0})
    return made


def _seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _put(parameters: Mapping[str, nn.Parameter], weights: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])


def _identity(
    parameters: Mapping[str, nn.Parameter],
    train: BatchSource,
    validation: BatchSource,
    config: TrainingConfig,
) -> str:
    """What must be the same for a run to go on; threads and the pace of checkpoints may change."""
    settings = _chosen(asdict(replace(config, **_FREE)), asdict(TrainingConfig(**_FREE)))
    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    digest = hashlib.blake2b(json.dumps([settings, shapes], sort_keys=True).encode(), digest_size=16)
    for source in (train, validation):
        digest.update(source.rated.numpy().tobytes())
    return digest.hexdigest()


def _chosen(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Settings other than the defaults: a field that a later version adds does not end a run."""
    return {name: value for name, value in settings.items() if value != defaults[name]}
