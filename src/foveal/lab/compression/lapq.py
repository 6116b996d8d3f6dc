"""LAP, LAQ and LAPQ: pruning and bit widths by layer, by rank of importance, chosen on validation images.

Source: Bhardwaj and Shinde, "Towards Efficient Vision Transformers for Perceptual Quality Assessment of
Diffusion-Generated Images", section 2.3 and Table 1.

The paper gives neither beta nor the map from importance to levels. Here layers are ordered by QLIS and a
share of them gets each level, the least important the strongest. Which beta, sign and shares is searched for
on validation images: the highest compression ratio whose SRCC lies no further than so much below that of the
model as it was. Its figures within 0.01 of the baseline on the very images that it reports suggest that the
paper chose there.

How sizes are counted, as far as the paper's table tells: only weights of the given layers, 32 bits each
before. Not counted: where the pruned weights were, scales, offsets, tables of codes, biases, norms,
embeddings. So no file is as small as these ratios say. With zeros coded too
(:attr:`Compressed.huffman_ratio_with_zeros`) at least all weights can be put back in their places.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np

from foveal.lab.compression.huffman import coded_bits
from foveal.lab.compression.importance import (
    BINS,
    FULL_BITS,
    NEAR_ZERO,
    Sign,
    importance,
    rank_quantiles,
)
from foveal.lab.compression.layers import Matrix
from foveal.lab.compression.minmax import BITS, quantize_minmax
from foveal.lab.compression.pruning import MULTIPLIERS, kept

Weights = Mapping[str, Matrix]
Shape = Literal["narrow", "wide"]
Method = Literal["LAP", "LAQ", "LAPQ"]


@dataclass(frozen=True)
class Plan:
    """What is done to each layer.

    Attributes:
        multipliers: k of pruning by layer's name; layers that are not in it are not pruned.
        bits: width by layer's name; layers that are not in it stay float32.
    """

    multipliers: Mapping[str, float]
    bits: Mapping[str, int]

    def of(self, name: str) -> tuple[float, int]:
        """Multiplier and bits of a layer."""
        return self.multipliers.get(name, 0.0), self.bits.get(name, FULL_BITS)


@dataclass(frozen=True)
class CompressedLayer:
    """One layer, compressed and put back into float32.

    Attributes:
        weights: as inference sees them.
        multiplier: k of its pruning.
        bits: of a weight that was kept; 32 where it was not quantised.
        kept: number of weights that pruning left.
        coded: bits of the kept weights' codes after Huffman coding; 32 each where not quantised.
        coded_with_zeros: bits after Huffman coding of all weights, pruned ones being a symbol of their own;
            where not quantised, 32 for each kept weight, and a bit a weight that tells which are kept.
    """

    weights: Matrix
    multiplier: float
    bits: int
    kept: int
    coded: int
    coded_with_zeros: int

    @property
    def sparsity(self) -> float:
        """Share of weights that were pruned."""
        return 1 - self.kept / self.weights.size


@dataclass(frozen=True)
class Compressed:
    """Compressed layers, and how small they are by the paper's count.

    Attributes:
        layers: by name.
    """

    layers: Mapping[str, CompressedLayer]

    @property
    def weights(self) -> dict[str, Matrix]:
        """Weights by layer's name."""
        return {name: layer.weights for name, layer in self.layers.items()}

    @property
    def ratio(self) -> float:
        """CR: 32 bits for every weight / b_l bits for every weight that pruning left.

        That is weights / non-zero weights after pruning, 32 / mean bits after quantising. After both, the
        non-zero weights of each layer count with its bits. The product of the two ratios is greater where
        what is pruned less gets more bits; the paper's LAPQ lies 8 to 20 % below its product.
        """
        return self._ratio(sum(layer.kept * layer.bits for layer in self.layers.values()))

    @property
    def huffman_ratio(self) -> float:
        """HCR: the same with the kept weights' codes Huffman coded, each layer by itself.

        Equal to the ratio where nothing is quantised, as in the paper's table. Whether the paper codes zeros
        there it does not say; its LAPQ ratios grow with pruning as these do.
        """
        return self._ratio(sum(layer.coded for layer in self.layers.values()))

    @property
    def huffman_ratio_with_zeros(self) -> float:
        """The same with the places of pruned weights paid for."""
        return self._ratio(sum(layer.coded_with_zeros for layer in self.layers.values()))

    def _ratio(self, bits: int) -> float:
        before = FULL_BITS * sum(layer.weights.size for layer in self.layers.values())
        return before / bits if bits else math.inf


def compress(weights: Weights, plan: Plan) -> Compressed:
    """Prune, then quantise what is left.

    The grid spans the layer after pruning. Pruned weights stay exactly zero: their places are taken as known.

    Args:
        weights: by layer's name.
        plan: what to do.

    Raises:
        ValueError: a multiplier is negative, or a width is neither 1 to 8 nor 32.
    """
    return Compressed({name: _compress_layer(matrix, *plan.of(name)) for name, matrix in weights.items()})


def _compress_layer(matrix: Matrix, multiplier: float, bits: int) -> CompressedLayer:
    mask = kept(matrix, multiplier)
    left = int(mask.sum())
    pruned = np.where(mask, matrix, np.float32(0))
    if bits == FULL_BITS:
        places = 0 if left == matrix.size else matrix.size
        return CompressedLayer(pruned, multiplier, bits, left, bits * left, bits * left + places)
    grid = quantize_minmax(pruned, bits)
    counts = np.bincount(grid.codes[mask], minlength=2**bits)
    with_zeros = np.append(counts, matrix.size - left)
    return CompressedLayer(
        np.where(mask, grid.weights, np.float32(0)),
        multiplier,
        bits,
        left,
        coded_bits(counts),
        coded_bits(with_zeros),
    )


@dataclass(frozen=True)
class Setting:
    """How importance becomes levels.

    Attributes:
        beta: of QLIS.
        sign: of QLIS.
        shares: share of layers for each level, the strongest level first; sum 1. The least important layers
            get the strongest.
    """

    beta: float
    sign: Sign
    shares: tuple[float, ...]


def level_shares(levels: int, strength: float, shape: Shape) -> tuple[float, ...]:
    """Shares of layers along one axis from no compression to the strongest level for all.

    Args:
        levels: how many there are.
        strength: 0 gives all layers the mildest level, 1 the strongest. The mean level is the same for both
            shapes.
        shape: ``narrow``: two neighbouring levels only; ``wide``: a binomial distribution over all.

    Returns:
        Shares, the strongest level first; sum 1.
    """
    steps = levels - 1
    if shape == "wide":
        shares = [
            math.comb(steps, step) * strength**step * (1 - strength) ** (steps - step)
            for step in range(levels)
        ]
    else:
        shares = [max(0.0, 1 - abs(strength * steps - step)) for step in range(levels)]
    return tuple(reversed(shares))


def levels_by_rank(
    scores: Mapping[str, float], levels: Sequence[float], shares: Sequence[float]
) -> dict[str, float]:
    """Give levels to layers by rank of importance: the first levels to the least important.

    Args:
        scores: importance by layer's name. Layers of equal importance get the same level.
        levels: the strongest first.
        shares: of layers for each level.

    Raises:
        ValueError: there is not one share for each level, or they do not sum to 1.
    """
    if len(levels) != len(shares) or min(shares) < 0 or not math.isclose(sum(shares), 1, abs_tol=1e-9):
        raise ValueError(f"shares are {tuple(shares)}, expected {len(levels)} that sum to 1")
    bounds = np.cumsum(shares)[:-1]
    return {
        name: levels[int(np.searchsorted(bounds, quantile))]
        for name, quantile in rank_quantiles(scores).items()
    }


@dataclass(frozen=True)
class SearchConfig:
    """What is tried.

    Attributes:
        max_drop: largest loss of SRCC on the images of the search.
        betas: of QLIS.
        signs: of QLIS.
        shapes: of the shares; see :func:`level_shares`.
        strengths: of the shares, ascending.
        near_zero: epsilon of the importance.
        bins: of its entropy.
    """

    max_drop: float = 0.01
    betas: tuple[float, ...] = (0.5, 0.0, 1.0)
    signs: tuple[Sign, ...] = ("paper", "text")
    shapes: tuple[Shape, ...] = ("narrow", "wide")
    strengths: tuple[float, ...] = (0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.55, 0.75)
    near_zero: float = NEAR_ZERO
    bins: int = BINS

    def __post_init__(self) -> None:
        if self.max_drop < 0:
            raise ValueError(f"max_drop is {self.max_drop}, expected 0 or more")
        if not self.strengths or not all(0 < strength <= 1 for strength in self.strengths):
            raise ValueError(f"strengths are {self.strengths}, expected some above 0 and up to 1")


@dataclass(frozen=True)
class Candidate:
    """A way to compress that may be chosen.

    Attributes:
        plan: what it does to each layer.
        ratio: its CR.
        pruning: where its multipliers come from; None where nothing is pruned.
        quantization: where its bits come from; None for one width for all, or none.
    """

    plan: Plan
    ratio: float
    pruning: Setting | None = None
    quantization: Setting | None = None


@dataclass(frozen=True)
class Trial:
    """A candidate that was tried.

    Attributes:
        method: what it was tried for.
        candidate: what was tried.
        srcc: on the images of the search.
        passed: whether its loss of SRCC is small enough.
    """

    method: Method
    candidate: Candidate
    srcc: float
    passed: bool


@dataclass(frozen=True)
class Search:
    """What was found.

    Attributes:
        baseline: SRCC of the model as it was on the images of the search.
        lap: the choice for pruning; no pruning if nothing passed.
        laq: the choice for quantising; 8 bits for all if nothing passed, or even that did not (``passed``).
        lapq: the choice for both: at least as small as ``laq``.
        trials: all that was evaluated, in order.
    """

    baseline: float
    lap: Trial
    laq: Trial
    lapq: Trial
    trials: tuple[Trial, ...]


def search(
    weights: Weights,
    evaluate: Callable[[Weights], float],
    config: SearchConfig | None = None,
    advance: Callable[[Trial], None] = lambda trial: None,
) -> Search:
    """Choose LAP, LAQ and LAPQ: the highest CR whose loss of SRCC is small enough.

    Within one beta, sign and shape, SRCC is taken to fall with strength: what would be no smaller than the
    best so far is left out, the mildest of the rest is tried first, and only if it passes the others by
    bisection. With the default grid that is 10 families of 11, and usually 12 to 20 evaluations a method. The
    same plan is not evaluated twice. LAPQ puts both choices together; if that loses too much, one or both are
    relaxed along their own family, again by bisection.

    Args:
        weights: of the model by layer's name.
        evaluate: SRCC of the model with other weights, on VALIDATION images; called once a trial.
        config: what to try; by default the grid above.
        advance: told of each trial.

    Returns:
        The choices and all trials. The same input gives the same result.

    Raises:
        ValueError: there are no layers.
    """
    run = _Run(weights, evaluate, config or SearchConfig(), advance)
    lap, milder_lap = run.one("LAP", run.candidate(Plan({}, {})), run.pruning_families())
    narrowest = run.candidate(Plan({}, dict.fromkeys(weights, max(BITS))))
    laq, milder_laq = run.one("LAQ", narrowest, run.quantization_families())
    return Search(run.baseline, lap, laq, run.both(laq, milder_lap, milder_laq), tuple(run.trials))


_Family = Sequence[Candidate]


class _Run:
    """One search: caches what candidates have in common and writes down what was tried."""

    def __init__(
        self,
        weights: Weights,
        evaluate: Callable[[Weights], float],
        config: SearchConfig,
        advance: Callable[[Trial], None],
    ) -> None:
        layers = importance(weights, near_zero=config.near_zero, bins=config.bins)
        self._weights, self._evaluate, self._config, self._advance = weights, evaluate, config, advance
        self._kept: dict[tuple[str, float], int] = {}
        self._scores = {
            (beta, sign): {name: layer.qlis(beta, sign) for name, layer in layers.items()}
            # With beta = 1 there is no density that could have a sign.
            for beta, sign in product(config.betas, config.signs)
            if beta < 1 or sign == config.signs[0]
        }
        self.baseline = evaluate(weights)
        self.trials: list[Trial] = []
        self._known: dict[tuple[tuple[float, int], ...], float] = {}

    def candidate(
        self, plan: Plan, pruning: Setting | None = None, quantization: Setting | None = None
    ) -> Candidate:
        """A plan with its ratio, which needs no compression to be known."""
        before = FULL_BITS * sum(matrix.size for matrix in self._weights.values())
        after = 0
        for name in self._weights:
            multiplier, bits = plan.of(name)
            after += self._kept_count(name, multiplier) * bits
        return Candidate(plan, before / after if after else math.inf, pruning, quantization)

    def _kept_count(self, name: str, multiplier: float) -> int:
        key = name, multiplier
        if key not in self._kept:
            self._kept[key] = int(kept(self._weights[name], multiplier).sum())
        return self._kept[key]

    def pruning_families(self) -> Iterable[_Family]:
        """Candidates for LAP that differ in strength alone."""
        for settings in self._settings(len(MULTIPLIERS)):
            yield [
                self.candidate(Plan(self._levels(setting, MULTIPLIERS), {}), pruning=setting)
                for setting in settings
            ]

    def quantization_families(self) -> Iterable[_Family]:
        """Candidates for LAQ that differ in strength alone."""
        for settings in self._settings(len(BITS)):
            yield [
                self.candidate(
                    Plan({}, {name: int(bits) for name, bits in self._levels(setting, BITS).items()}),
                    quantization=setting,
                )
                for setting in settings
            ]

    def _settings(self, levels: int) -> Iterable[list[Setting]]:
        for (beta, sign), shape in product(self._scores, self._config.shapes):
            yield [
                Setting(beta, sign, level_shares(levels, strength, shape))
                for strength in self._config.strengths
            ]

    def _levels(self, setting: Setting, levels: Sequence[float]) -> dict[str, float]:
        return levels_by_rank(self._scores[setting.beta, setting.sign], levels, setting.shares)

    def one(self, method: Method, mildest: Candidate, families: Iterable[_Family]) -> tuple[Trial, _Family]:
        """The choice of a method, and its family from the mildest up to it."""
        untouched = mildest.ratio == 1
        first = (
            Trial(method, mildest, self.baseline, passed=True) if untouched else self._try(method, mildest)
        )
        if not first.passed:
            return first, [mildest]
        best, ladder = first, [mildest]
        for family in families:
            found = self._smallest(method, best, family)
            if found is not best:
                best = found
                ladder = [mildest, *(one for one in family if one.ratio <= found.candidate.ratio)]
        return best, ladder

    def both(self, laq: Trial, pruning: _Family, quantization: _Family) -> Trial:
        """LAP and LAQ together: as chosen, else with less of the one, of both, or of the other."""
        best = Trial("LAPQ", laq.candidate, laq.srcc, laq.passed)
        if not best.passed:
            return best
        strongest = len(pruning) - 1, len(quantization) - 1
        deepest = max(strongest)
        less_pruning = [(step, strongest[1]) for step in range(strongest[0])]
        less_of_both = [tuple(max(0, end - step) for end in strongest) for step in range(1, deepest + 1)]
        more_bits = [(strongest[0], step) for step in range(strongest[1])]
        for pairs in ([strongest], less_pruning, less_of_both, more_bits):
            family = [self._joined(pruning[first], quantization[second]) for first, second in pairs]
            best = self._smallest("LAPQ", best, family)
        return best

    def _joined(self, pruning: Candidate, quantization: Candidate) -> Candidate:
        plan = Plan(pruning.plan.multipliers, quantization.plan.bits)
        return self.candidate(plan, pruning.pruning, quantization.quantization)

    def _smallest(self, method: Method, best: Trial, family: _Family) -> Trial:
        """The smallest candidate of a family that passes, or what was best before."""
        smaller = sorted(
            {one.ratio: one for one in family if one.ratio > best.candidate.ratio}.items(),
            key=lambda item: item[0],
        )
        low, high, probe = 0, len(smaller), 0
        while low < high:
            trial = self._try(method, smaller[probe][1])
            if trial.passed:
                best, low = trial, probe + 1
            else:
                high = probe
            probe = (low + high) // 2
        return best

    def _try(self, method: Method, candidate: Candidate) -> Trial:
        # Settings differ more than what comes of them: ranks are few.
        key = tuple(candidate.plan.of(name) for name in self._weights)
        is_new = key not in self._known
        if is_new:
            self._known[key] = self._evaluate(compress(self._weights, candidate.plan).weights)
        srcc = self._known[key]
        trial = Trial(method, candidate, srcc, srcc >= self.baseline - self._config.max_drop)
        if is_new:
            self.trials.append(trial)
            self._advance(trial)
        return trial
