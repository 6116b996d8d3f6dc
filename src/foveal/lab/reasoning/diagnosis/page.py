"""A diagnosis as one HTML page that needs nothing else, for light and dark, and for screen readers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from foveal.evaluation.benchmark.page import page
from foveal.lab.reasoning.diagnosis.attention import TOP
from foveal.lab.reasoning.diagnosis.collect import ReasonerDiagnosis
from foveal.lab.reasoning.diagnosis.counterfactual import TINY
from foveal.lab.reasoning.diagnosis.diagnose import Diagnosis
from foveal.lab.reasoning.diagnosis.examples import contested_image, restless_image, strongest_edit
from foveal.lab.reasoning.diagnosis.exhibits import plots, shown_attribute
from foveal.lab.reasoning.diagnosis.grounding import DEAD_ZONE
from foveal.lab.reasoning.diagnosis.pictures import thumbnail
from foveal.lab.reasoning.diagnosis.plots import level_colours
from foveal.lab.reasoning.diagnosis.summary import Measure, measures, sentences

NOTHING = "nothing was described"
_STYLE = """\
.lead { font-size: 1.1rem; } .lead li { margin: 0.4rem 0; max-width: 52rem; }
.sides { display: flex; flex-wrap: wrap; gap: 1rem 2rem; } .sides > div { flex: 1 1 30rem; min-width: 0; }
.fv-diagnosis { max-width: 100%; height: auto; }
.better { font-weight: 700; } .better::after { content: " \\2713"; }
.sample { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem; }
.sample > div { flex: 1 1 22rem; min-width: 0; }
.said { list-style: none; padding: 0; font-size: 0.9rem; } .said li { margin: 0.5rem 0; }
.level { border-radius: 4px; padding: 0.05rem 0.45rem; color: #111; white-space: nowrap; }
.lens th, .lens td { text-align: left; } .lens td { font: 0.85rem/1.5 ui-monospace, monospace; }
small { opacity: 0.8; }
:root { --level-0: #92b8e0; --level-1: #c2def0; --level-2: #d0d0d0; --level-3: #f7c0a4; --level-4: #e2808a; }
"""


def to_html(diagnosis: Diagnosis) -> str:
    """Write the page; plots and pictures are in it."""
    drawn = plots(diagnosis)
    parts = {
        "At a glance": _glance(diagnosis),
        "Asked again": _stability(diagnosis, drawn),
        "What was said, and the verdict": _grounding(drawn),
        "One attribute changed": _counterfactual(diagnosis, drawn),
        "Layer by layer": _lens(diagnosis, drawn),
        "What the verdict looks at": _attention(diagnosis, drawn),
        "Agreement with people": _agreement(drawn),
        "How it was measured": _method(diagnosis),
    }
    title = f"How {diagnosis.model} reasons about quality"
    body = [f"<header><h1>{escape(title)}</h1>", f"<p>{escape(_scope(diagnosis))}</p>"]
    links = (f'<li><a href="#part-{place}">{escape(name)}</a></li>' for place, name in enumerate(parts))
    body.append(f'<nav aria-label="Parts of the report"><ul>{"".join(links)}</ul></nav></header><main>')
    for place, (name, lines) in enumerate(parts.items()):
        body.append(f'<section id="part-{place}" aria-labelledby="heading-{place}">')
        body.append(f'<h2 id="heading-{place}">{escape(name)}</h2>')
        body += lines
        body.append("</section>")
    whole = page(title, "\n".join([*body, "</main>"]))
    return whole.replace("</style>", f"{_STYLE}</style>", 1)


def _scope(diagnosis: Diagnosis) -> str:
    names = " beside ".join(one.name for one in diagnosis.reasoners)
    return (
        f"{names}: {len(diagnosis.names):,} images of {diagnosis.ratings}, "
        f"{diagnosis.config.samples} sampled answers each"
    )


def _glance(diagnosis: Diagnosis) -> Iterator[str]:
    yield f'<ul class="lead">{"".join(f"<li>{escape(text)}</li>" for text in sentences(diagnosis))}</ul>'
    heads = "".join(f'<th scope="col">{escape(one.name)}</th>' for one in diagnosis.reasoners)
    rows = "".join(_measure(measure) for measure in measures(diagnosis))
    yield (
        '<div class="wide" role="region" tabindex="0" aria-label="Summary"><table>'
        "<caption>Figures, with 95 % intervals; a tick marks the better where that is beyond chance</caption>"
        f'<thead><tr><th scope="col">measure</th>{heads}'
        f'<th scope="col">better is</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _measure(measure: Measure) -> str:
    cells = []
    for place, one in enumerate(measure.values):
        if not math.isfinite(one.value):
            cells.append("<td>-</td>")
            continue
        kind = ' class="better"' if measure.best == place else ""
        ends = f"<br><small>{measure.text(one.low)} to {measure.text(one.high)}</small>"
        cells.append(f"<td><span{kind}>{measure.text(one.value)}</span>{ends}</td>")
    direction = {True: "higher", False: "lower", None: "-"}[measure.higher]
    return f'<tr><th scope="row">{escape(measure.label)}</th>{"".join(cells)}<td>{direction}</td></tr>'


def _stability(diagnosis: Diagnosis, drawn: dict[str, str]) -> Iterator[str]:
    yield (
        "<p>Each image was asked about several times. (a) is the share of images whose answers do not all "
        "give the same verdict, (b) the share of pairs of answers that disagree, and (c) the share of images "
        "where a late layer would still have given another verdict than the output.</p>"
    )
    yield drawn["stability"]
    image = restless_image(diagnosis)
    yield f"<h3>An image asked {diagnosis.config.samples} times</h3>"
    yield from _sample(diagnosis, image)


def _sample(diagnosis: Diagnosis, image: int) -> Iterator[str]:
    mos = diagnosis.mos[image]
    yield '<div class="sample"><figure>'
    yield f'<img src="{thumbnail(diagnosis.paths[image])}" alt="{escape(diagnosis.names[image])}">'
    yield f"<figcaption>{escape(diagnosis.names[image])}, MOS {mos:.2f}</figcaption></figure>"
    for one in diagnosis.reasoners:
        answers = "".join(
            f"<li>{_level(diagnosis, answer.verdict)} {escape(answer.description or NOTHING)}</li>"
            for answer in one.answers[image]
        )
        moved = strongest_edit(one, image)
        note = ""
        if moved is not None:
            wanted = "best" if moved.wanted > 0 else "worst"
            note = (
                f"<p><small>Of single edits to the likeliest description, "
                f"{escape(shown_attribute(moved.attribute))} to its {wanted} moves the score most: "
                f"{moved.before:.2f} to {moved.after:.2f}.</small></p>"
            )
        yield f'<div><h4>{escape(one.name)}</h4><ul class="said">{answers}</ul>{note}</div>'
    yield "</div>"


def _level(diagnosis: Diagnosis, word: str) -> str:
    words = diagnosis.levels.words
    colour = level_colours(len(words))[words.index(word)]
    return f'<span class="level" style="background: {colour}">{escape(word)}</span>'


def _grounding(drawn: dict[str, str]) -> Iterator[str]:
    yield (
        "<p>If a verdict follows from the description, the described attributes explain its score (R², on "
        "images that the regression has not seen), each tells more of the verdict's level than chance "
        "would, and praise does not end in a bad verdict. This alone does not show that the verdict rests on "
        "the description: where both come from the same image they agree anyway. Edits, below, tell.</p>"
    )
    yield drawn["grounding"]
    yield drawn["information"]


def _counterfactual(diagnosis: Diagnosis, drawn: dict[str, str]) -> Iterator[str]:
    if "counterfactual" not in drawn:
        yield (
            "<p>Nothing could be edited: the descriptions state no attribute in the words that the parser "
            "knows.</p>"
        )
        return
    edits = " and ".join(f"{len(one.changes):,} edits ({one.name})" for one in diagnosis.reasoners)
    yield (
        "<p>One attribute of each description is edited to its best or to its worst degree, all else is "
        "left, and the verdict is asked again; the one-stage model goes on seeing the image. Verdicts that "
        f"rest on the description move, and in the right direction. {escape(edits)}.</p>"
    )
    yield drawn["counterfactual-directions"]
    yield drawn["counterfactual"]


def _lens(diagnosis: Diagnosis, drawn: dict[str, str]) -> Iterator[str]:
    yield (
        "<p>What the model would answer if it stopped after each layer: mean probabilities of the level "
        "words, and how often the likeliest is that of the output already.</p>"
    )
    yield from _beside(diagnosis, drawn, "lens")
    image = contested_image(diagnosis)
    yield (
        "<h3>Candidates for the verdict on one image</h3><p>The four likeliest of all tokens by layer, the "
        f"output on top: {escape(diagnosis.names[image])}, MOS {diagnosis.mos[image]:.2f}.</p>"
    )
    tables = "".join(f"<div>{_candidates(one, image)}</div>" for one in diagnosis.reasoners)
    yield (
        f'<div class="sample"><figure><img src="{thumbnail(diagnosis.paths[image])}" '
        f'alt="{escape(diagnosis.names[image])}"></figure>{tables}</div>'
    )


def _candidates(one: ReasonerDiagnosis, image: int) -> str:
    words, chances = one.words[image], one.lens.probabilities[image]
    rows = []
    for layer in range(len(words), 0, -1):
        cells = "".join(
            f'<td style="background: rgba(var(--heat), {0.55 * chance:.2f})">{escape(_visible(word))} '
            f"<small>{chance:.0%}</small></td>"
            for word, chance in zip(words[layer - 1], chances[layer - 1], strict=True)
        )
        rows.append(f'<tr><th scope="row">{layer}</th>{cells}</tr>')
    heads = "".join(f'<th scope="col">{place}.</th>' for place in range(1, words.shape[1] + 1))
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="Candidates, {escape(one.name)}">'
        f'<table class="lens"><caption>{escape(one.name)}</caption><thead><tr><th scope="col">layer</th>'
        f"{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _visible(word: str) -> str:
    """A token as text: without the space before it, and with marks for what has no shape."""
    bare = word.strip()
    return bare if bare and bare.isprintable() else repr(str(word))[1:-1] or "(empty)"


def _attention(diagnosis: Diagnosis, drawn: dict[str, str]) -> Iterator[str]:
    yield (
        "<p>Attention of the token before the verdict, mean over heads and images. The lowest bar is what "
        "the kinds would hold if all tokens were attended to alike. On the right, the share that the "
        f"{TOP} image tokens with most attention hold.</p>"
    )
    yield from _beside(diagnosis, drawn, "attention")
    for one in diagnosis.reasoners:
        if one.attention.image_map is None:
            continue
        places = one.attention.image_map.mean(axis=0)
        yield (
            f"<figure>{drawn[f'attention-map-{one.name}']}<figcaption>{escape(one.name)}: attention over the "
            f"places of the image, mean over layers and images; from {places.min():.2%} (empty) to "
            f"{places.max():.2%} (full)</figcaption></figure>"
        )


def _agreement(drawn: dict[str, str]) -> Iterator[str]:
    yield (
        "<p>Closed-set scores of the likeliest descriptions against people's ratings; where the verdict sees "
        "the image, also its score straight from the image, without a description.</p>"
    )
    yield drawn["agreement"]


def _method(diagnosis: Diagnosis) -> Iterator[str]:
    config, levels = diagnosis.config, diagnosis.levels
    words = ", ".join(f"{word} {value:g}" for word, value in zip(levels.words, levels.values, strict=True))
    parsed = ", ".join(f"{one.name} {one.grounding.parsed:.0%}" for one in diagnosis.reasoners)
    sided = ", ".join(f"{one.name} {one.grounding.sided:.0%}" for one in diagnosis.reasoners)
    notes = f"""\
Levels: {words}, after “{levels.statement}”. The closed-set score is their expected value.
{config.samples} answers an image at temperature {config.temperature:g}, seed {config.seed}, batches of \
{config.batch}. Verdict words are drawn from their closed-set probabilities, likewise.
Likeliest levels: the description is drawn, its verdict is not. Lens, attention, edits and agreement with \
people are of the likeliest description.
Intervals: bootstrap over images, 2,000 resamples, percentiles (correlations: BCa). Where all images are \
alike they have no width, which is not certainty.
Answers with attributes that the parser knows: {parsed}.
A description takes a side if its statements' polarities add up to more than {DEAD_ZONE} or less than \
-{DEAD_ZONE}; a verdict, if its value is not 3. Answers where both do: {sided}.
Mutual information: between an attribute's degree, or that it is not mentioned, and the likeliest level, \
with Miller and Madow's correction. Chance deals verdicts to other images.
A score counts as moved if it changes by more than {TINY:g}."""
    yield f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes.splitlines())}</ul>"


def _beside(diagnosis: Diagnosis, drawn: dict[str, str], kind: str) -> Iterator[str]:
    parts: Sequence[str] = [
        f"<div><h3>{escape(one.name)}</h3>{drawn[f'{kind}-{one.name}']}</div>" for one in diagnosis.reasoners
    ]
    yield f'<div class="sides">{"".join(parts)}</div>'
