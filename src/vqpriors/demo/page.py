"""What is where on the page."""

import secrets
from collections.abc import Mapping
from html import escape
from typing import Any

import gradio as gr
from gradio.components import Component
from PIL import Image

from vqpriors.demo.handlers import CANVAS, Acts, orders, problem, told
from vqpriors.demo.streaming import Pictures, enlarged, suggested_pictures
from vqpriors.inference.generator import Generator
from vqpriors.inference.limits import EXAMPLE_PROMPT

TITLE = "vqpriors"
SUBTITLE = (
    "Pictures in a vocabulary of learned codes: see them written, redraw parts, read captions."
)
NUM_PICTURES, MOST_PICTURES, MOST_STEPS, NUM_EXAMPLES = 8, 16, 64, 6
MAX_WAITING, KEPT_SECONDS = 16, 3600
PAINT = "#f97316b0"
NO_CAPTIONS = "This prior writes no captions. Train one that does: dvc exp run -S prior.arch=cftn2"
NO_REDRAWING = (
    "This prior draws in one order, from the top, and can't redraw. Train one that can: "
    "dvc exp run -S prior.arch=cftn"
)
ACT: dict[str, Any] = {"concurrency_id": "prior", "api_visibility": "private"}
AT_ONCE: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def build_page(generators: Mapping[str, Generator]) -> gr.Blocks:
    """Build the page.

    Args:
        generators: By the names that they have on the page; the first is chosen.
    """
    with gr.Blocks(
        title=TITLE, analytics_enabled=False, delete_cache=(KEPT_SECONDS, KEPT_SECONDS)
    ) as page:
        _Layout(generators).place()
    return page.queue(max_size=MAX_WAITING, default_concurrency_limit=1, api_open=False)


def of_prior(generator: Generator) -> dict[str, Any]:
    """Return what goes with a prior, to be placed, or to replace what is there of another."""
    settings, sampler, spec = generator.settings, generator.sampler.config, generator.spec
    can_redraw = "in-painting" in generator.sampler.module.EDITS
    kind = type(generator.prior).__module__.rpartition(".")[2]
    codes = f"{spec.rows} x {spec.columns} of {spec.codebook_size:,} codes"
    known = list(orders(generator))
    return {
        "steps": _slider(
            "Steps", settings.steps, least=1, most=MOST_STEPS, step=1, visible=generator.has_steps
        ),
        "temperature": _slider("Temperature", sampler.temperature, least=0, most=3, step=0.05),
        "guidance": _slider("Guidance", settings.guidance, least=0, most=10, step=0.1),
        "order": gr.Dropdown(
            known,
            value=getattr(sampler, "order", None),
            label="Order",
            visible=bool(known),
            render=False,
        ),
        "redrawing": _note(NO_REDRAWING, visible=not can_redraw),
        "redraw": _button("Draw again", interactive=can_redraw),
        "captions": _note(NO_CAPTIONS, visible=not generator.is_captioner),
        "caption": _button("Write a caption", interactive=generator.is_captioner),
        "about": gr.HTML(
            f'<p class="about">{escape(kind)}: {generator.image.size} px as {codes}</p>',
            render=False,
        ),
    }


class _Layout:
    """The page's parts, and what happens when one is pressed."""

    def __init__(self, generators: Mapping[str, Generator]):
        first = next(iter(generators))
        self.generators, self.acts = generators, Acts(generators)
        self.suggested = {name: suggested_pictures(g.folder) for name, g in generators.items()}
        self.parts = of_prior(generators[first])
        examples = self._examples(first)
        self.prompt = _prompt(examples[0][0])
        self.examples = gr.Dataset(
            components=[gr.Textbox(render=False)],
            samples=examples,
            show_label=False,
            elem_classes="examples",
            render=False,
        )
        self.name = gr.Dropdown(
            list(generators), value=first, label="Prior", visible=len(generators) > 1, render=False
        )
        self.seed = gr.Number(0, precision=0, label="Seed", render=False)
        self.wishes = [
            _slider("Pictures", NUM_PICTURES, least=1, most=MOST_PICTURES, step=1),
            self.seed,
            gr.Checkbox(True, label="New seed each time", render=False),
            *(self.parts[key] for key in ("steps", "temperature", "guidance", "order")),
        ]
        self.drawn = gr.State([])

    def place(self) -> None:
        """Put all of it where it belongs."""
        gr.HTML(f"<header><h1>{TITLE}</h1><p>{SUBTITLE}</p></header>")
        with gr.Row():
            with gr.Column(scale=3, min_width=320), gr.Tabs(overflow_behavior="wrap"):
                with gr.Tab("Draw"):
                    self._draw()
                with gr.Tab("In-paint"):
                    self._inpaint()
                with gr.Tab("Caption"):
                    self._caption()
                with gr.Tab("Reconstruct"):
                    self._reconstruct()
            with gr.Column(scale=1, min_width=260):
                self._settings()

    def _draw(self) -> None:
        with gr.Row():
            with gr.Column(scale=6, min_width=280):
                self.prompt.render()
            with gr.Column(scale=1, min_width=110, elem_classes="go"):
                go = _button("Draw")
                stop = _with_stop(go)
        self.examples.render()
        self.examples.click(lambda row: row[0], self.examples, self.prompt, **AT_ONCE)
        shown = _note("Pictures come here.")
        shown.render()
        self._drawing(self.acts.draw, [self.prompt], go, stop, shown)

    def _inpaint(self) -> None:
        self.parts["redrawing"].render()
        with gr.Row():
            with gr.Column(min_width=300):
                editor = gr.ImageEditor(
                    label="Brush over what to draw again",
                    type="pil",
                    format="png",
                    sources=("upload", "clipboard"),
                    transforms=(),
                    layers=False,
                    brush=gr.Brush(default_size=CANVAS // 8, colors=[PAINT], color_mode="fixed"),
                    canvas_size=(CANVAS, CANVAS),
                    height=CANVAS + 62,
                    buttons=[],
                )
                self._sources(editor)
            with gr.Column(min_width=300):
                prompt = _prompt("")
                prompt.render()
                with gr.Row():
                    go = self.parts["redraw"]
                    stop = _with_stop(go)
                shown = _note("Pictures come here.")
                shown.render()
        self._drawing(self.acts.inpaint, [prompt, editor], go, stop, shown)

    def _caption(self) -> None:
        self.parts["captions"].render()
        with gr.Row():
            with gr.Column(min_width=300):
                picture = self._picture()
            with gr.Column(min_width=300):
                go = self.parts["caption"]
                go.render()
                text = gr.Textbox(label="Caption", lines=3, interactive=False)
        go.click(
            told(self.acts.caption), [self.name, picture, self.seed], text, preprocess=False, **ACT
        )

    def _reconstruct(self) -> None:
        with gr.Row():
            with gr.Column(min_width=300):
                picture = self._picture()
            with gr.Column(min_width=300):
                go = _button("Encode and decode")
                go.render()
                shown = _note("Both pictures come here.")
                shown.render()
        go.click(told(self.acts.reconstruct), [self.name, picture], shown, preprocess=False, **ACT)

    def _settings(self) -> None:
        count, seed, is_new_seed, *others = self.wishes
        self.name.render()
        with gr.Group():
            for part in (count, *others, seed, is_new_seed):
                part.render()
        self.parts["about"].render()
        changing = [self.examples, *self.parts.values()]
        self.name.change(self._change, self.name, changing, **AT_ONCE)

    def _change(self, name: str) -> list[Any]:
        examples = gr.Dataset(samples=self._examples(name))
        return [examples, *of_prior(self.generators[name]).values()]

    def _examples(self, name: str) -> list[list[str]]:
        _, captions = self.suggested[name]
        return [[caption] for caption in captions[:NUM_EXAMPLES] or [EXAMPLE_PROMPT]]

    def _drawing(
        self,
        act: Any,
        given: list[Any],
        go: gr.Button,
        stop: gr.Button,
        shown: Component,
    ) -> None:
        event = gr.on(
            [go.click, given[0].submit],
            told(act),
            [self.name, *given, *self.wishes],
            [shown, self.seed, self.drawn],
            show_progress="minimal",
            show_progress_on=shown,
            **ACT,
        )
        stop.click(None, cancels=[event], **AT_ONCE)

    def _picture(self) -> gr.Image:
        picture = gr.Image(
            label="Picture",
            format="png",
            sources=["upload", "clipboard"],
            height=CANVAS + 40,
            buttons=[],
        )
        self._sources(picture)
        return picture

    def _sources(self, target: Component) -> None:
        has_pictures = any(pictures for pictures, _ in self.suggested.values())
        with gr.Row():
            drawn = gr.Button("Take the drawn one", size="sm", min_width=120)
            test = gr.Button("Take a test picture", size="sm", min_width=120, visible=has_pictures)
        drawn.click(_first, self.drawn, target, **AT_ONCE)
        test.click(self._any, self.name, target, **AT_ONCE)

    def _any(self, name: str) -> Image.Image:
        pictures, _ = self.suggested[name]
        if not pictures:
            raise problem("picture: beside this prior there are none; upload one")
        return enlarged(secrets.choice(pictures), CANVAS)


def _first(pictures: Pictures) -> Image.Image:
    if not pictures:
        raise problem("picture: none is drawn yet; draw one first")
    return enlarged(pictures[0], CANVAS)


def _with_stop(go: gr.Button) -> gr.Button:
    go.render()
    return gr.Button("Stop", scale=1, min_width=80)


def _button(text: str, *, interactive: bool = True) -> gr.Button:
    return gr.Button(
        text, variant="primary", scale=3, min_width=100, interactive=interactive, render=False
    )


def _prompt(text: str) -> gr.Textbox:
    hint = "What to draw; anything, if empty"
    return gr.Textbox(text, label="Prompt", placeholder=hint, max_lines=6, render=False)


def _slider(
    label: str, value: float, *, least: float, most: float, step: float, visible: bool = True
) -> gr.Slider:
    """Return a slider that reaches what params.yaml says, too."""
    return gr.Slider(
        least,
        max(most, value),
        value,
        step=step,
        label=label,
        visible=visible,
        buttons=[],
        render=False,
    )


def _note(text: str, *, visible: bool = True) -> gr.HTML:
    return gr.HTML(f'<p class="note">{escape(text)}</p>', visible=visible, render=False)
