"""Losses between predicted and rated quality, one pure function each, and their weighted sum.

All take one column of predictions and one of ratings, (n,) each, on the same scale, and give a scalar that
always has a graph. A row whose rating is NaN does not count, as with targets that not every image was rated
for. Where a loss says nothing about a batch it is 0 with a gradient of 0, never NaN; a NaN among predictions
that count does show. Sums are taken in float32 or better, whatever the predictions come in.

MSE trains the regressors of LAPQ, MSE with margin ranking MST-CLIPIQA, 1 - PLCC the adapters LoDa and CMPA.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial

import torch
from torch import Tensor, distributed
from torch.nn import functional

MARGIN = 0.1
"""Least distance of two predictions in :func:`margin_rank_loss`, as MST-CLIPIQA's code has it on 1-5."""

_LEAST_DEVIATION = 1e-4
"""Predictions closer together than this have a PLCC whose gradient would explode; see :func:`plcc_loss`."""

_SATURATED = 12.0
"""Standard deviations from which on sqrt(Phi) is 0 or 1 to the last digit of float64."""


def mse_loss(predicted: Tensor, rated: Tensor) -> Tensor:
    """Mean squared error (LAPQ, Eq. 3; MST-CLIPIQA); 0 without ratings.

    Args:
        predicted: (n,).
        rated: (n,), NaN where there is no rating.

    Raises:
        ValueError: the shapes differ or are not (n,).
    """
    predicted, rated, valid = _paired(predicted, rated)
    return (predicted - rated).square().sum() / valid.sum().clamp_min(1)


def plcc_loss(predicted: Tensor, rated: Tensor) -> Tensor:
    """1 - PLCC within the batch, as CMPA trains with: 0 is perfect, 1 unrelated, 2 inverted.

    LoDa's variant (``plcc_loss`` in its src/utils/loss.py: mean of MSE(a, b) / 4 and MSE(rho a, b) / 4 on
    z-scores a, b with correlation rho) is (1 - rho)(3 + rho) / 8, a function of the same correlation whose
    slope falls to 0 at rho = -1, where it is needed most. So the plain one is taken here.

    Constant predictions have no correlation; they give 1, and a finite gradient towards the ratings: below a
    standard deviation of 1e-4 that deviation is used in place of theirs. Fewer than two ratings, or equal
    ones, give 0.

    Args:
        predicted: (n,).
        rated: (n,), NaN where there is no rating.

    Raises:
        ValueError: the shapes differ or are not (n,).
    """
    predicted, rated, valid = _paired(predicted, rated)
    if not len(predicted):  # nothing has no largest rating
        return predicted.sum()
    count = valid.sum().clamp_min(1)
    a, b = (torch.where(valid, column - column.sum() / count, 0.0) for column in (predicted, rated))
    length = b.norm()
    # Equal ratings need not have a deviation of 0 once their mean is rounded.
    differ = torch.where(valid, rated, -math.inf).amax() > torch.where(valid, rated, math.inf).amin()
    informative = differ & (length > 0)
    least = _LEAST_DEVIATION * count.sqrt()
    correlation = (a * b).sum() / (a.norm().clamp_min(least) * torch.where(informative, length, 1.0))
    loss: Tensor = informative * (1 - correlation)
    return loss


def margin_rank_loss(
    predicted: Tensor, rated: Tensor, *, margin: float = MARGIN, threshold: float = 0.0
) -> Tensor:
    """Pairwise margin ranking: mean of max(0, margin - (p_i - p_j)) over pairs with r_i - r_j > threshold.

    Of MST-CLIPIQA (arXiv 2606.16799; its code: margin 0.1 and all pairs that differ; its appendix: 0.05).
    A pair rated closer than the margin is pushed further apart than its ratings are: a ``threshold`` of the
    size of the margin leaves such pairs alone. 0 if no pair is left.

    Args:
        predicted: (n,).
        rated: (n,), NaN where there is no rating.
        margin: least distance of the two predictions, in the unit of the ratings.
        threshold: pairs must be rated further apart than this.

    Raises:
        ValueError: the shapes differ or are not (n,), or ``margin`` or ``threshold`` is negative.
    """
    if not (margin >= 0 and threshold >= 0):
        raise ValueError(f"margin is {margin} and threshold {threshold}, expected numbers from 0 up")
    predicted, rated, valid = _paired(predicted, rated)
    above = (_differences(rated) > threshold) & _both(valid)
    violation = functional.relu(margin - _differences(predicted))
    return torch.where(above, violation, 0.0).sum() / above.sum().clamp_min(1)


def fidelity_loss(predicted: Tensor, rated: Tensor) -> Tensor:
    """Fidelity of predicted to rated preferences over all pairs of a batch: 0 is perfect, 1 the worst.

    1 - sqrt(g p) - sqrt((1 - g)(1 - p)) (Tsai et al., FRank, SIGIR 2007), where p = Phi((p_i - p_j) / sqrt 2)
    is the probability that i is preferred under Thurstone's model (case V, as in LIQE, CVPR 2023; UNIQUE, TIP
    2021, learns the variances), and g is 1, 0, or for equal ratings 1/2. Only the order of the ratings
    counts, so that sets rated on different scales may share a batch if each is given on its own. Computed
    through log Phi, without the constants that authors add under the roots: it is never negative and its
    gradient finite. 0 for fewer than two ratings.

    Args:
        predicted: (n,), in standard deviations of one image's judgements.
        rated: (n,), NaN where there is no rating.

    Raises:
        ValueError: the shapes differ or are not (n,).
    """
    predicted, rated, valid = _paired(predicted, rated)
    pairs = _both(valid).triu(1)
    preferred = (1 + _differences(rated).sign()) / 2
    gap = (_differences(predicted) / math.sqrt(2)).clamp(-_SATURATED, _SATURATED)
    # sqrt(Phi(x)) as exp(log Phi(x) / 2): the root itself has an infinite slope at 0.
    agreement = preferred.sqrt() * (torch.special.log_ndtr(gap) / 2).exp()
    agreement = agreement + (1 - preferred).sqrt() * (torch.special.log_ndtr(-gap) / 2).exp()
    return torch.where(pairs, 1 - agreement, 0.0).sum() / pairs.sum().clamp_min(1)


def laplace_loss(spread: Tensor, error: Tensor) -> Tensor:
    """Negative log-likelihood of errors under a Laplace distribution of the given spread, up to log 2.

    log s + |e| / s, least where the spread is the mean absolute error to be expected (Kendall and Gal,
    NeurIPS 2017, with Laplace in place of the normal distribution). Errors are detached: the spread learns
    from errors that it may not influence. 0 without ratings.

    Args:
        spread: (n,), > 0.
        error: (n,), predicted minus rated, NaN where there is no rating.

    Raises:
        ValueError: the shapes differ or are not (n,).
    """
    spread, size, valid = _paired(spread, error.detach().abs())
    spread = torch.where(valid, spread, 1.0)
    return (spread.log() + size / spread).sum() / valid.sum().clamp_min(1)


@dataclass(frozen=True)
class LossWeights:
    """How much each loss counts in :func:`combined`.

    Attributes:
        mse: of :func:`mse_loss`.
        plcc: of :func:`plcc_loss`.
        rank: of :func:`margin_rank_loss`.
        fidelity: of :func:`fidelity_loss`.
        spread: of :func:`laplace_loss`.

    Raises:
        ValueError: a weight is negative or not finite, or all are 0.
    """

    mse: float = 1.0
    plcc: float = 0.0
    rank: float = 0.0
    fidelity: float = 0.0
    spread: float = 0.0

    def __post_init__(self) -> None:
        """Refuse weights that cannot train."""
        for name, weight in self.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"the weight of {name} is {weight}, expected a finite number from 0 up")
        if not any(weight for _, weight in self.items()):
            raise ValueError("all weights of the losses are 0: nothing would be learnt; raise one")

    def items(self) -> list[tuple[str, float]]:
        """Names and weights."""
        return [(field.name, getattr(self, field.name)) for field in fields(self)]


def combined(
    predicted: Tensor,
    spread: Tensor | None,
    rated: Tensor,
    weights: LossWeights,
    *,
    margin: float = MARGIN,
    threshold: float = 0.0,
) -> dict[str, Tensor]:
    """Weighted losses of several targets, each the mean over targets; their sum is what to descend.

    Each target is a column of its own: images are compared within a target only. A target that nobody in
    the batch is rated for counts as 0, so that it does not raise the weight of the others.

    Args:
        predicted: (batch, targets).
        spread: (batch, targets), > 0; may be None where its weight is 0.
        rated: (batch, targets), NaN where there is no rating.
        weights: of the losses; those of weight 0 are neither computed nor given back.
        margin: see :func:`margin_rank_loss`.
        threshold: likewise.

    Returns:
        Scalars by name, in the order of the fields of :class:`LossWeights`.

    Raises:
        ValueError: shapes differ or are not (batch, targets), there is no target, or the spread is missing.
    """
    if predicted.ndim != 2 or predicted.shape != rated.shape or not predicted.shape[1]:
        raise ValueError(
            f"predicted is {tuple(predicted.shape)} and rated {tuple(rated.shape)}, "
            "expected (batch, targets) both"
        )
    if weights.spread and (spread is None or spread.shape != rated.shape):
        what = "missing" if spread is None else tuple(spread.shape)
        raise ValueError(f"spread is {what}, expected {tuple(rated.shape)} as its loss has a weight")
    terms: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "mse": mse_loss,
        "plcc": plcc_loss,
        "rank": partial(margin_rank_loss, margin=margin, threshold=threshold),
        "fidelity": fidelity_loss,
    }
    parts = {}
    for name, weight in weights.items():
        if not weight:
            continue
        if name == "spread" and spread is not None:
            columns = zip(spread.T, (predicted - rated).T, strict=True)
            losses = [laplace_loss(*column) for column in columns]
        else:
            losses = [terms[name](*column) for column in zip(predicted.T, rated.T, strict=True)]
        parts[name] = weight * torch.stack(losses).mean()
    return parts


def gather_with_gradient(tensor: Tensor) -> Tensor:
    """Join the batches of all ranks of ``torch.distributed``; gradients flow back to where rows came from.

    Correlations and pairs need the whole batch: a loss over the rows of one rank would depend on how many
    ranks there are. With the gathered predictions every rank computes the same loss L. The way back sums
    over ranks, so that a rank's rows receive W dL/dx, as each of the W ranks contributes one L; and
    DistributedDataParallel takes the mean over ranks: (1 / W) sum over ranks of W dL/dx dx/dw = dL/dw, the
    gradient of one process with the whole batch. Nothing needs to be scaled. A sum in place of that mean,
    or dividing by W once more, would be wrong. (``torch.distributed.nn.functional.all_gather`` does the same
    and is deprecated.)

    Args:
        tensor: (rows, ...), of the same shape and type on every rank: let the loader drop the last batch.

    Returns:
        (ranks * rows, ...), rank by rank; the tensor itself where ``torch.distributed`` is not initialised.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return tensor
    gathered: Tensor = _Gather.apply(tensor)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    """All-gather along the first dimension; its way back is the sum over ranks of the own rows' gradients."""

    @staticmethod
    def forward(context: torch.autograd.function.FunctionCtx, tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total.chunk(distributed.get_world_size())[distributed.get_rank()]


def _paired(predicted: Tensor, rated: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Both columns in float32 or better with 0 where there is no rating, and where there is one (bool)."""
    if predicted.ndim != 1 or predicted.shape != rated.shape:
        raise ValueError(
            f"one column is {tuple(predicted.shape)}, the other {tuple(rated.shape)}, expected (n,) both"
        )
    valid = ~rated.isnan()
    dtype = torch.promote_types(predicted.dtype, torch.float32)
    return torch.where(valid, predicted.to(dtype), 0.0), torch.where(valid, rated.to(dtype), 0.0), valid


def _differences(column: Tensor) -> Tensor:
    """(n,) -> (n, n): row i, column j holds i minus j."""
    return column[:, None] - column[None, :]


def _both(valid: Tensor) -> Tensor:
    """(n,) -> (n, n): whether both of a pair are rated."""
    return valid[:, None] & valid[None, :]
