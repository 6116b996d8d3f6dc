"""All known sets, those with generated pictures first, then synthetic and authentic distortions."""

from __future__ import annotations

from foveal.ratings.sets.agiqa import AGIQA_1K, AGIQA_3K
from foveal.ratings.sets.aigciqa2023 import AIGCIQA2023
from foveal.ratings.sets.aigiqa20k import AIGIQA_20K
from foveal.ratings.sets.biq2021 import BIQ2021
from foveal.ratings.sets.csiq import CSIQ
from foveal.ratings.sets.flive import FLIVE
from foveal.ratings.sets.kadid10k import KADID_10K
from foveal.ratings.sets.koniq10k import KONIQ_10K
from foveal.ratings.sets.live import LIVE_CHALLENGE, LIVE_R2
from foveal.ratings.sets.pku import PKU_AIGIQA_4K, PKU_I2IQA
from foveal.ratings.sets.spaq import SPAQ
from foveal.ratings.sets.tid2013 import TID2013

KNOWN_SETS = (
    AGIQA_1K,
    AGIQA_3K,
    AIGCIQA2023,
    AIGIQA_20K,
    PKU_AIGIQA_4K,
    PKU_I2IQA,
    LIVE_R2,
    CSIQ,
    TID2013,
    KADID_10K,
    LIVE_CHALLENGE,
    KONIQ_10K,
    SPAQ,
    FLIVE,
    BIQ2021,
)
"""Sets whose layout and scale are known."""
