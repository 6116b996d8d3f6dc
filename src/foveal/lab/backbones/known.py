"""Well-known backbones: short name, where the weights lie, which revision, licence and paper."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownBackbone:
    """Where a well-known backbone comes from.

    Attributes:
        hub_id: its repository on the Hugging Face Hub.
        licence: SPDX identifier, or the name of the licence, as its makers state it.
        paper: arXiv number of the paper that describes it.
        revision: commit of the repository; None where we could not make sure of one. The card of the loaded
            backbone then records the commit that the first load resolved to: pass it as ``revision`` from
            then on.
    """

    hub_id: str
    licence: str
    paper: str
    revision: str | None = None


_APACHE = "Apache-2.0"

KNOWN: dict[str, KnownBackbone] = {
    "vit-tiny-16": KnownBackbone(
        "WinKawaks/vit-tiny-patch16-224", _APACHE, "2106.10270", "77d1485af66b34d4ed0fe95dbb0c60c7496f950b"
    ),
    "vit-base-16": KnownBackbone(
        "google/vit-base-patch16-224", _APACHE, "2010.11929", "3f49326eb077187dfe1c2a2bb15fbd74e6ab91e3"
    ),
    "deit-tiny-16": KnownBackbone("facebook/deit-tiny-patch16-224", _APACHE, "2012.12877"),
    "deit-small-16": KnownBackbone("facebook/deit-small-patch16-224", _APACHE, "2012.12877"),
    # The main branches of DINO and CLIP have pickles only; these commits are the Hub's own conversions.
    "dino-small-16": KnownBackbone(
        "facebook/dino-vits16", _APACHE, "2104.14294", "a7a4d161f5c0bd70478c05ca5777ec7cd8848021"
    ),
    "dino-base-16": KnownBackbone(
        "facebook/dino-vitb16", _APACHE, "2104.14294", "a77533c84408875b30b5e8beb766c82a5be82bf4"
    ),
    "dinov2-small": KnownBackbone(
        "facebook/dinov2-small", _APACHE, "2304.07193", "ed25f3a31f01632728cabb09d1542f84ab7b0056"
    ),
    "dinov2-base": KnownBackbone(
        "facebook/dinov2-base", _APACHE, "2304.07193", "f9e44c814b77203eaa57a6bdbbd535f21ede1415"
    ),
    "dinov2-base-registers": KnownBackbone(
        "facebook/dinov2-with-registers-base",
        _APACHE,
        "2309.16588",
        "a1d738ccfa7ae170945f210395d99dde8adb1805",
    ),
    # Gated: the licence has to be accepted on the Hub first.
    "dinov3-small-16": KnownBackbone(
        "facebook/dinov3-vits16-pretrain-lvd1689m",
        "DINOv3 License",
        "2508.10104",
        "114c1379950215c8b35dfcd4e90a5c251dde0d32",
    ),
    "clip-base-32": KnownBackbone(
        "openai/clip-vit-base-patch32", "MIT", "2103.00020", "c237dc49a33fc61debc9276459120b7eac67e7ef"
    ),
    "clip-base-16": KnownBackbone(
        "openai/clip-vit-base-patch16", "MIT", "2103.00020", "5ef227a78de3f75873f373246dac80def63b0003"
    ),
    "clip-large-14": KnownBackbone(
        "openai/clip-vit-large-patch14", "MIT", "2103.00020", "32bd64288804d66eefd0ccbe215aa642df71cc41"
    ),
    "siglip-base-16": KnownBackbone(
        "google/siglip-base-patch16-224", _APACHE, "2303.15343", "7fd15f0689c79d79e38b1c2e2e2370a7bf2761ed"
    ),
    "siglip2-base-16": KnownBackbone(
        "google/siglip2-base-patch16-224", _APACHE, "2502.14786", "75de2d55ec2d0b4efc50b3e9ad70dba96a7b2fa2"
    ),
    "siglip2-base-16-naflex": KnownBackbone(
        "google/siglip2-base-patch16-naflex",
        _APACHE,
        "2502.14786",
        "b53b807d3a2d5e2b3911292f2d69e5341cdc064c",
    ),
}
"""Every backbone that :func:`~foveal.lab.backbones.load_backbone` knows by a short name."""
