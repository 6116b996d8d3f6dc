"""What requests and answers look like: checked on the way in, and described in OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, model_validator

Quality = Annotated[float, Field(ge=1, le=5, description="1 (bad) to 5 (excellent).", examples=[3.87])]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", title=None)


class ImageEntry(_Strict):
    """An image: its bytes in base64, or, where the service allows it, its URL."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"oneOf": [{"required": ["data"]}, {"required": ["url"]}]}
    )

    data: StrictStr | None = Field(
        None, description="The encoded image (JPEG, PNG, WebP ...) in base64, without a `data:` prefix."
    )
    url: StrictStr | None = Field(None, description="Where to fetch it (http or https).")
    name: StrictStr | None = Field(None, description="What to call it in the answer.")
    prompt: StrictStr | None = Field(
        None, description="Text that it was made from, for models that read it; empty leaves that out."
    )

    @model_validator(mode="after")
    def _one_source(self) -> ImageEntry:
        if (self.data is None) == (self.url is None):
            raise ValueError("give either data or url")
        return self


class OrderBody(_Strict):
    """One image or several."""

    images: list[ImageEntry] = Field(description="In the order of the answer.", min_length=1)
    model: StrictStr | None = Field(
        None, description="Name of a loaded model (`GET /v1/models`); by default the first."
    )
    prompt: StrictStr | None = Field(None, description="For images that have none of their own.")
    map: StrictBool | None = Field(
        None,
        description="Whether to answer with local quality: for scores as numbers, where the model gives it "
        "(by default not); for explanations as a PNG too (by default yes).",
    )


class OrderForm(_Strict):
    """The same as a form."""

    image: list[Annotated[str, Field(json_schema_extra={"format": "binary"})]] = Field(
        description="Encoded images, one a part; the name of a part's file is the image's."
    )
    model: str | None = Field(None, description="See the JSON form.")
    prompt: list[str] | None = Field(None, description="One for all images, or one for each in order.")
    map: Literal["true", "false"] | None = Field(None, description="See the JSON form.")


class ErrorDetail(BaseModel):
    """What is wrong."""

    code: str = Field(description="For programs; keeps its meaning.")
    message: str = Field(description="For people; may change.")
    field: str | None = Field(None, description="Which part of the request is meant.")


class RequestErrorDetail(ErrorDetail):
    """What is wrong with a request."""

    request_id: str = Field(description="Names the request in the service's log.")


class Failed(BaseModel):
    """An image that could not be judged."""

    source: str = Field(description="Name of the image, or `image 0` and so on.")
    error: ErrorDetail


class Scored(BaseModel):
    """The judgement of one image."""

    source: str = Field(description="Name of the image, or `image 0` and so on.")
    quality: Quality
    interval: tuple[Quality, Quality] = Field(description="People's mean opinion lies inside ...")
    coverage: float = Field(description="... with this probability, as calibrated.", gt=0, lt=1)
    aspects: dict[str, Quality] = Field(description="Further scores, where the model gives them.")
    quality_map: list[list[Quality]] | None = Field(
        None, description="Local quality in a regular grid, if asked for and given by the model."
    )
    warnings: list[str] = Field(description="What to know before trusting the score.")
    model: str = Field(description="`name@version`.")


class Told(BaseModel):
    """What is said of an attribute, or what a meter reads."""

    degree: int
    phrase: str
    place: str | None
    value: float | None = None


class WhatIf(BaseModel):
    """The verdict if one attribute had been described otherwise."""

    attribute: str
    degree: int
    phrase: str
    quality: float
    change: float
    level: str


class Attribute(BaseModel):
    """One attribute of an image."""

    attribute: str
    polarity: Literal[-1, 0, 1]
    said: Told
    measured: Told | None
    differs: bool
    what_if: list[WhatIf]


class Verdict(BaseModel):
    """What follows from the description alone."""

    level: str
    value: float
    quality: float
    probabilities: dict[str, float]


class Disagreement(BaseModel):
    """Two parts of an explanation that do not fit together."""

    kind: str
    text: str
    attribute: str | None


class Explained(BaseModel):
    """The score of one image, and reasons."""

    source: str
    quality: Quality
    interval: tuple[Quality, Quality]
    coverage: float
    description: str = Field(description="What is seen, in words.")
    verdict: Verdict
    attributes: list[Attribute]
    up: WhatIf | None = Field(description="The change that would raise the verdict most.")
    down: WhatIf | None = Field(description="The change that would lower it most.")
    map: list[list[Quality]] = Field(description="Local quality in a regular grid, top row first.")
    map_png: str | None = Field(
        None, description="The same over the image, with a legend: a PNG in base64, if asked for."
    )
    disagreements: list[Disagreement]
    warnings: list[str]
    model: str = Field(description="The explainer, `name@version`.")
    assessor: str = Field(description="What gave score and interval, `name@version`.")


class _Answer(BaseModel):
    model: str = Field(description="`name@version` of the model that judged.")
    request_id: str
    failed: int = Field(description="Images that could not be judged.")


class ScoreAnswer(_Answer):
    """One result an image, in the order of the request."""

    results: list[Scored | Failed]


class ExplainAnswer(_Answer):
    """One result an image, in the order of the request."""

    results: list[Explained | Failed]


class ErrorBody(BaseModel):
    """Every answer that is not a success looks like this."""

    error: RequestErrorDetail
    results: list[Failed] | None = Field(
        None, description="If the images are at fault: the error of each, in the order of the request."
    )


class AspectInfo(BaseModel):
    """A score beside quality."""

    name: str
    needs_prompt: bool


class ModelInfo(BaseModel):
    """A loaded model."""

    model: str = Field(description="`name@version`.")
    name: str
    version: str
    default: bool = Field(description="Whether it judges where none is named.")
    summary: str
    licence: str
    training_data: str
    aspects: list[AspectInfo]
    reads_prompts: bool
    explains: bool = Field(description="Whether `POST /v1/explain` takes it.")
    coverage: float = Field(description="Nominal coverage of its intervals.")
    measured_coverage: float | None
    measured: dict[str, float] = Field(description="Figures of its card.")


class ModelsAnswer(BaseModel):
    """All loaded models; the default one first."""

    models: list[ModelInfo]


class HealthAnswer(BaseModel):
    """Whether the process lives."""

    status: Literal["ok"]


class ReadyAnswer(BaseModel):
    """Whether new work is welcome."""

    status: Literal["ready", "not ready"]
    reasons: list[Literal["starting", "draining", "queue full"]]


def plain(model: BaseModel) -> dict[str, Any]:
    """Plain values, without fields that are not set."""
    return model.model_dump(exclude_none=True)
