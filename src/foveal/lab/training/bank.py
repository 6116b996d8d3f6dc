"""From a store of views and a table of ratings to the bank that a distillation reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from foveal.lab.training.distill import Bank
from foveal.lab.training.probe import ProbeConfig, fit_probe, predict
from foveal.lab.training.view_store import ViewPlan, open_pixels, read_plans

Features = NDArray[np.float32]

FOLDS = 5
_POOLED_COMPONENTS = 256
# Variances of principal components fall over three decades. Their square root as weight keeps the small
# ones, which tell distortions apart, from drowning in the large ones, which tell subjects apart.
_WHITENING = 0.5
_NO_VARIANCE = 1e-6


@dataclass(frozen=True)
class Sources:
    """Rows of the store by source: draws of both views, and degraded pairs of one kind, mild and strong."""

    names: list[str]
    whole: list[list[int]]
    fragments: list[list[int]]
    series: list[tuple[int, tuple[int, int], tuple[int, int]]]


def gather_sources(plans: Sequence[ViewPlan]) -> Sources:
    """Group the rows of a store by what they show."""
    number: dict[str, int] = {}
    for plan in plans:
        number.setdefault(plan.source, len(number))
    whole: list[list[int]] = [[] for _ in number]
    fragments: list[list[int]] = [[] for _ in number]
    damaged: dict[tuple[int, str], dict[float, dict[str, int]]] = {}
    for row, plan in enumerate(plans):
        source = number[plan.source]
        if plan.degradation:
            steps = damaged.setdefault((source, plan.degradation), {})
            steps.setdefault(plan.severity, {})[plan.kind] = row
        else:
            (whole if plan.kind == "whole" else fragments)[source].append(row)
    series = []
    for (source, _), steps in damaged.items():
        pairs = [steps[severity] for severity in sorted(steps) if len(steps[severity]) == 2]
        if len(pairs) < 2:  # the store ends within this series
            continue
        mild, strong = pairs
        series.append((source, (mild["whole"], mild["fragments"]), (strong["whole"], strong["fragments"])))
    return Sources(list(number), whole, fragments, series)


def build_bank(
    store: Path, quality: dict[str, float], folds: dict[str, int], held_out: set[str], config: ProbeConfig
) -> tuple[Bank, dict[str, float]]:
    """Targets for every view of a store.

    Args:
        store: folder of :mod:`foveal.lab.training.view_store`, with the teacher's features.
        quality: rated quality on 1-5 by source, training and held-out sources.
        folds: fold of each training source; near copies share one.
        held_out: sources of the validation part: neither they nor their degraded copies are in the bank.
        config: recipe of the probes.

    Returns:
        The bank, and the mean of the probes on each held-out source.
    """
    sources = gather_sources(read_plans(store))
    pooled = _standardised_pooled(store)
    kept = [i for i, name in enumerate(sources.names) if name not in held_out]
    rated = np.array([i for i in kept if sources.names[i] in quality], np.int64)
    unrated = np.array([i for i in kept if sources.names[i] not in quality], np.int64)
    names = [sources.names[i] for i in rated]
    draws = [
        (pooled[[sources.whole[i][w] for i in rated]], pooled[[sources.fragments[i][f] for i in rated]])
        for w, f in ((0, 0), (1, 1), (0, 2))
    ]
    scores = np.array([quality[name] for name in names], np.float32)
    probes, blind = _cross_fitted(draws, scores, np.array([folds[name] for name in names]), config)

    def ensemble(whole: Sequence[int], fragments: Sequence[int]) -> Features:
        features = pooled[np.array(whole)], pooled[np.array(fragments)]
        judgements = np.stack([predict(probe, *features) for probe in probes])
        mean: Features = judgements.mean(axis=0, dtype=np.float32)
        return mean

    target = ensemble([rows[0] for rows in sources.whole], [rows[0] for rows in sources.fragments])
    judged = {name: float(target[i]) for i, name in enumerate(sources.names) if name in held_out}
    for index, source in enumerate(rated):
        target[source] = (scores[index] + blind[index]) / 2
    held = {i for i, name in enumerate(sources.names) if name in held_out}
    series = [entry for entry in sources.series if entry[0] not in held]
    mild = ensemble([entry[1][0] for entry in series], [entry[1][1] for entry in series])
    strong = ensemble([entry[2][0] for entry in series], [entry[2][1] for entry in series])
    tokens: NDArray[np.float16] = np.load(store / "tokens.npy", mmap_mode="r")
    bank = Bank(
        pixels=open_pixels(store),
        tokens=_equalised(tokens, np.load(store / "basis.npz")["spread"]),
        pooled=_principal(pooled, np.concatenate([rated, unrated]), sources),
        whole=sources.whole,
        fragments=sources.fragments,
        target=target,
        rated=rated,
        unrated=unrated,
        series=[
            (source, (*mild_rows, float(mild[i])), (*strong_rows, float(strong[i])))
            for i, (source, mild_rows, strong_rows) in enumerate(series)
        ],
    )
    return bank, judged


def _standardised_pooled(store: Path) -> Features:
    """The teacher's CLS and mean tokens of all views, (views, features), each of mean 0 and spread 1."""
    pooled = np.load(store / "pooled.npy", mmap_mode="r")
    features = np.asarray(pooled, np.float32).reshape(len(pooled), -1)
    features -= features.mean(axis=0)
    features /= features.std(axis=0) + 1e-3
    return features


def _cross_fitted(
    draws: list[tuple[Features, Features]],
    scores: Features,
    fold: NDArray[np.int64],
    config: ProbeConfig,
) -> tuple[list[nn.Module], Features]:
    """A probe per fold, and for each rated image the prediction of the probe that never saw it."""
    blind = np.zeros(len(scores), np.float32)
    probes = []
    for number in range(FOLDS):
        seen, unseen = fold != number, fold == number
        probe = fit_probe([(w[seen], f[seen]) for w, f in draws], scores[seen], config, number)
        blind[unseen] = np.mean([predict(probe, w[unseen], f[unseen]) for w, f in draws], axis=0)
        probes.append(probe)
    return probes, blind


def _principal(pooled: Features, kept: NDArray[np.int64], sources: Sources) -> Features:
    """Principal components of the pooled features, fitted on undamaged training views, partly whitened."""
    rows = np.concatenate([[*sources.whole[i], *sources.fragments[i]] for i in kept])
    sample = pooled[rows[:: max(1, len(rows) // 20_000)]]
    values, vectors = np.linalg.eigh(np.cov(sample, rowvar=False))
    # Components beyond the rank of the sample have no variance to divide by.
    count = min(_POOLED_COMPONENTS, int(np.count_nonzero(values > _NO_VARIANCE * values[-1])))
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    projected = pooled @ vectors.astype(np.float32)
    scale = values**_WHITENING
    # Unit mean square over all components, so that the loss starts near 1 whatever the teacher.
    scale *= np.sqrt(np.mean(values / scale**2))
    return (projected / scale).astype(np.float32)


def _equalised(tokens: NDArray[np.float16], spread: NDArray[np.float64]) -> NDArray[np.float16]:
    """Patch-token components partly whitened to unit mean square, in half precision."""
    scale = spread ** (2 * _WHITENING)
    scale *= np.sqrt(np.mean(spread**2 / scale**2))
    return np.multiply(tokens, (1 / scale).astype(np.float16), dtype=np.float16)
