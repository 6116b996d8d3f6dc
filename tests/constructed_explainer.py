"""An explainer whose weights are written by hand, so that what it says and why is known; no torch.

It looks whether an image is bright. Its describer says one of two texts, by what most image tokens show; its
judge counts good and bad words. Both are ordinary decoders: attention is the mean over what was read (queries
and keys are zero), tokens are unit vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from foveal.explanation.card import ExplainerCard
from foveal.explanation.decoder import DecoderShape
from foveal.explanation.file import Conversation, ExplainerModel, Settings
from foveal.explanation.tokens import Vocabulary, byte_marks

BRIGHT = "Crisp and clean rendering, a common scene. Very sharp (strongest in the centre), bright."
DARK = "Smeared rendering, a drab scene. Very blurry, noisy, very dark."
GOOD, BAD = ("sharp", "crisp", "stunning"), ("blurry", "drab", "noisy")
LEVELS = {"excellent": 5.0, "good": 4.0, "fair": 3.0, "poor": 2.0, "bad": 1.0}
SPECIAL = ("<pad>", "<s>", "</s>", "<image>")
CONVERSATION = Conversation(
    before_image="User: ",
    behind_image="Describe.\nAssistant: ",
    before_text="User: ",
    behind_text="\nRate.\nAssistant: The quality of the image is",
    end="</s>",
    image="<image>",
    statement="The quality of the image is",
    most_tokens=5,
)
CARD = ExplainerCard(
    name="constructed", version="1", licence="Apache-2.0", summary="By hand.", training_data="none"
)
_PLACES, _GRID = 49, 7


def marks(text: str) -> str:
    """A text as tokens write it."""
    return "".join(byte_marks()[byte] for byte in text.encode())


def make_vocabulary(words: Sequence[str], whole: Sequence[str] = ()) -> Vocabulary:
    """Bytes, words that are one token each, and texts that are tokens too though no merges lead to them."""
    merges: dict[tuple[str, str], None] = {}
    for word in map(marks, words):
        for end in range(1, len(word)):
            merges.setdefault((word[:end], word[end]))
    tokens = [*SPECIAL, *byte_marks(), *(first + second for first, second in merges), *map(marks, whole)]
    return Vocabulary(tuple(dict.fromkeys(tokens)), tuple(merges), SPECIAL)


def constructed_explainer(
    texts: tuple[str, str] = (BRIGHT, DARK), *, card: ExplainerCard = CARD
) -> ExplainerModel:
    """The explainer; ``texts`` are what it says of bright and of dark images."""
    known = make_vocabulary([f" {word}" for word in (*LEVELS, *GOOD, *BAD)], texts)
    width = len(known.tokens) + 4 + len(known.tokens) % 2
    spare = width - 4
    end = known.number("</s>")
    said = [known.number(marks(text)) for text in texts]
    shape = DecoderShape(blocks=1, heads=1)

    describer = _blank(len(known.tokens), width, 3)
    _copy(describer, [(spare, spare + 2, 0.07), (spare + 1, spare + 3, 0.07)])
    gate, down = describer["0.gate_up"], describer["0.down"]
    for unit, (number, strength) in enumerate([(said[0], 1.0), (said[1], 1.0), (end, 9.0)]):
        rows = [spare + 2 + unit] if unit < 2 else said
        gate[np.ix_(rows, [unit, unit + 3])] = 1.0
        down[unit, number] = strength

    judge = _blank(len(known.tokens), width, 1)
    counted = {word: known.number(marks(f" {word}")) for word in (*GOOD, *BAD, *LEVELS)}
    value, out = judge["0.qkv"][:, 2 * width :], judge["0.out"]
    for word in GOOD:
        value[counted[word], 0] = 1.0
    for word in BAD:
        value[counted[word], 1] = 1.0
    for row, words in enumerate((("excellent", "good"), ("bad", "poor"))):
        for word, weight in zip(words, (2.0, 1.0), strict=True):
            out[row, counted[word]] = weight
    judge["norm"][:] = 0.3

    settings = Settings(known, CONVERSATION, LEVELS, shape, shape)
    return ExplainerModel(card, _eyes(width, spare), describer, judge, settings)


def _blank(count: int, width: int, inner: int) -> dict[str, NDArray[np.float32]]:
    sizes = {"0.qkv": (width, 3 * width), "0.out": (width, width), "0.gate_up": (width, 2 * inner)}
    weights = {name: np.zeros(size, np.float32) for name, size in sizes.items()}
    weights |= {name: np.ones(width, np.float32) for name in ("norm", "0.attention_norm", "0.inner_norm")}
    return weights | {
        "0.down": np.zeros((inner, width), np.float32),
        "embedding": np.eye(count, width, dtype=np.float32),
    }


def _copy(weights: dict[str, NDArray[np.float32]], moves: list[tuple[int, int, float]]) -> None:
    """Let attention bring the mean of one feature to another."""
    width = weights["0.out"].shape[0]
    for head, (source, target, strength) in enumerate(moves):
        weights["0.qkv"][source, 2 * width + head] = 1.0
        weights["0.out"][head, target] = strength


def _eyes(width: int, spare: int) -> bytes:
    """Mean brightness of places of the whole view: tokens tell bright from dark, the map is 1 + 4 x it."""
    reach = np.zeros((2, width), np.float32)
    reach[0, spare], reach[1, spare + 1] = 1, 1
    constants = {
        "white": np.array(255, np.float32),
        "channels": np.array([3], np.int64),
        "half": np.array(0.5, np.float32),
        "steep": np.array(50, np.float32),
        "one": np.array(1, np.float32),
        "four": np.array(4, np.float32),
        "column": np.array([0, _PLACES, 1], np.int64),
        "reach": reach,
        "zero": np.array(0, np.float32),
        "all": np.array([1, 2, 3], np.int64),
        "grid": np.array([0, _GRID, _GRID], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["whole"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["levels", "white"], ["unit"]),
        helper.make_node("Transpose", ["unit"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["pooled"], kernel_shape=[32, 32], strides=[32, 32]),
        helper.make_node("ReduceMean", ["pooled", "axis"], ["grey"], keepdims=0),
        helper.make_node("Mul", ["grey", "four"], ["stretched"]),
        helper.make_node("Cast", ["fragments"], ["others"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["others", "all"], ["mean"], keepdims=1),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Squeeze", ["nothing", "last"], ["vanished"]),
        helper.make_node("Add", ["stretched", "one"], ["placed"]),
        helper.make_node("Add", ["placed", "vanished"], ["map"]),
        helper.make_node("Reshape", ["grey", "column"], ["listed"]),
        helper.make_node("Sub", ["listed", "half"], ["centred"]),
        helper.make_node("Mul", ["centred", "steep"], ["sharp"]),
        helper.make_node("Sigmoid", ["sharp"], ["bright"]),
        helper.make_node("Sub", ["one", "bright"], ["dark"]),
        helper.make_node("Concat", ["bright", "dark"], ["both"], axis=2),
        helper.make_node("MatMul", ["both", "reach"], ["tokens"]),
    ]
    constants |= {"axis": np.array([1], np.int64), "last": np.array([3], np.int64)}
    del constants["channels"], constants["grid"]
    graph = helper.make_graph(
        nodes,
        "eyes",
        [
            helper.make_tensor_value_info(v, TensorProto.UINT8, ["N", 224, 224, 3])
            for v in ("whole", "fragments")
        ],
        [
            helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ["N", _PLACES, width]),
            helper.make_tensor_value_info("map", TensorProto.FLOAT, ["N", _GRID, _GRID]),
        ],
        initializer=[numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    serialized: bytes = model.SerializeToString()
    return serialized
