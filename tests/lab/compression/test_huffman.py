import heapq
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from foveal.lab.compression.huffman import code_lengths, coded_bits, mean_bits

COUNTS = st.lists(st.integers(0, 5000), min_size=1, max_size=60).map(np.array)


def bits_of_merged_nodes(counts):
    """Huffman (1952) written out: an optimal code costs the sum of all inner nodes' weights."""
    order = count()
    heap = [(int(weight), next(order)) for weight in counts if weight]
    if len(heap) == 1:
        return heap[0][0]
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap)[0] + heapq.heappop(heap)[0]
        total += merged
        heapq.heappush(heap, (merged, next(order)))
    return total


@settings(max_examples=40, deadline=None)
@given(COUNTS)
def test_as_few_bits_as_huffmans_own_algorithm_needs(counts):
    assert coded_bits(counts) == bits_of_merged_nodes(counts)


@settings(max_examples=40, deadline=None)
@given(COUNTS.filter(lambda counts: (counts > 0).sum() > 1))
def test_lengths_are_those_of_a_full_prefix_code(counts):
    lengths = code_lengths(counts)
    assert ((lengths > 0) == (counts > 0)).all()
    assert (2.0 ** -lengths[counts > 0]).sum() == 1
    entropy = stats.entropy(counts, base=2)
    assert max(1, entropy) - 1e-9 <= mean_bits([counts]) < entropy + 1


def test_a_code_from_the_textbook():
    # Cormen et al., Introduction to Algorithms, figure 16.3: 224,000 bits for a file of 100,000 letters.
    letters = np.array([45, 13, 12, 16, 9, 5]) * 1000
    np.testing.assert_array_equal(code_lengths(letters), [1, 3, 3, 3, 4, 4])
    assert coded_bits(letters) == 224_000


def test_a_model_of_several_layers_has_a_code_for_each():
    skewed, even = np.array([8, 4, 2, 2]), np.array([1, 1, 1, 1, 1, 1, 1, 1])
    assert mean_bits([skewed]) == 1.75
    assert mean_bits([even]) == 3
    assert mean_bits([skewed, even]) == (16 * 1.75 + 8 * 3) / 24


def test_no_word_is_shorter_than_a_bit():
    assert code_lengths(np.array([0, 7, 0])).tolist() == [0, 1, 0]
    assert mean_bits([np.array([1_000_000, 1])]) == 1


def test_bad_input_is_told():
    with pytest.raises(ValueError, match="-2 times"):
        code_lengths(np.array([3, -2]))
    with pytest.raises(ValueError, match="no weights"):
        mean_bits([np.zeros(4, int)])
    assert coded_bits(np.zeros(3, int)) == 0
