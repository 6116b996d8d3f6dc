"""Which images show best what the figures say."""

from __future__ import annotations

import numpy as np

from foveal.lab.reasoning.diagnosis.collect import ReasonerDiagnosis
from foveal.lab.reasoning.diagnosis.counterfactual import Change
from foveal.lab.reasoning.diagnosis.diagnose import Diagnosis


def restless_image(diagnosis: Diagnosis) -> int:
    """Where answers of the first reasoner disagree most, and of equals those of the second least."""
    first, *others = (one.stability.by_image["disagreement"] for one in diagnosis.reasoners)
    steadier = -others[0] if others else np.zeros_like(first)
    return int(np.lexsort((np.arange(len(first)), -steadier, -first))[0])


def contested_image(diagnosis: Diagnosis) -> int:
    """Where a late layer of the first reasoner is surest of another level than that of the output."""
    one = diagnosis.reasoners[0]
    closed, last = one.lens.closed, one.stability.last_layers
    late = closed[:, -1 - last : -1].copy()
    output = closed[:, -1].argmax(axis=1)
    late[np.arange(len(late)), :, output] = 0.0
    return int(late.max(axis=(1, 2)).argmax())


def strongest_edit(one: ReasonerDiagnosis, image: int) -> Change | None:
    """The edit that moves an image's score most; None without any."""
    own = [change for change in one.changes if change.image == image]
    return max(own, key=lambda change: abs(change.after - change.before), default=None)
