"""Layout of the page: its controls, connected to the handlers of their events."""

import secrets
from collections.abc import Mapping
from html import escape
from typing import Any

import gradio as gr
from gradio.components import Component
from PIL import Image

from vqpriors.demo.handlers import CANVAS, Handlers, decoding_orders, page_error, show_errors
from vqpriors.demo.streaming import Pictures, example_pictures, upscale
from vqpriors.inference.generator import Generator
from vqpriors.inference.limits import EXAMPLE_PROMPT

TITLE = "vqpriors"
SUBTITLE = "Draw pictures from prompts, code by code; redraw parts of them, or caption them."
NUM_PICTURES, MAX_PICTURES, MAX_STEPS, NUM_EXAMPLES = 8, 16, 64, 6
MAX_WAITING, UPLOAD_SECONDS = 16, 3600
PAINT = "#f97316b0"
NO_CAPTIONS = "This prior can't caption. Train one that can: dvc exp run -S prior.arch=cftn2"
NO_REDRAWING = (
    "This prior draws in one order, from the top, and can't redraw parts. Train one that can: "
    "dvc exp run -S prior.arch=cftn"
)
# Options of events: those that run a generator wait for each other, others do not wait.
RUN: dict[str, Any] = {"concurrency_id": "prior", "api_visibility": "private"}
AT_ONCE: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def build_page(generators: Mapping[str, Generator]) -> gr.Blocks:
    """Build the page.

    Args:
        generators: Generators by their names on the page; the first one is preselected.
    """
    with gr.Blocks(
        title=TITLE, analytics_enabled=False, delete_cache=(UPLOAD_SECONDS, UPLOAD_SECONDS)
    ) as page:
        _Layout(generators).render()
    return page.queue(max_size=MAX_WAITING, default_concurrency_limit=1, api_open=False)


def controls_for(generator: Generator) -> dict[str, Any]:
    """Return the controls that depend on the generator, to render or to update rendered ones."""
    defaults, sampler, spec = generator.defaults, generator.sampler.config, generator.spec
    can_redraw = "in-painting" in generator.sampler.module.EDITS
    codes = f"{spec.rows} x {spec.columns} codes, codebook of {spec.codebook_size:,}"
    orders = list(decoding_orders(generator))
    return {
        "steps": _slider(
            "Steps",
            defaults.steps,
            minimum=1,
            maximum=MAX_STEPS,
            step=1,
            visible=generator.has_steps,
        ),
        "temperature": _slider("Temperature", sampler.temperature, minimum=0, maximum=3, step=0.05),
        "guidance": _slider("Guidance", defaults.guidance, minimum=0, maximum=10, step=0.1),
        "order": gr.Dropdown(
            orders,
            value=getattr(sampler, "order", None),
            label="Decoding order",
            visible=bool(orders),
            render=False,
        ),
        "redrawing": _note(NO_REDRAWING, visible=not can_redraw),
        "redraw": _run_button("Redraw", interactive=can_redraw),
        "captions": _note(NO_CAPTIONS, visible=not generator.is_captioner),
        "caption": _run_button("Caption", interactive=generator.is_captioner),
        "about": gr.HTML(
            f'<p class="about">{escape(generator.arch)}: {generator.image.size} px, {codes}</p>',
            render=False,
        ),
    }


class _Layout:
    """The page's components and their events."""

    def __init__(self, generators: Mapping[str, Generator]):
        first = next(iter(generators))
        self.generators, self.handlers = generators, Handlers(generators)
        self.test_data = {name: example_pictures(g.folder) for name, g in generators.items()}
        self.own = controls_for(generators[first])
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
        self.controls = [
            _slider("Pictures", NUM_PICTURES, minimum=1, maximum=MAX_PICTURES, step=1),
            self.seed,
            gr.Checkbox(True, label="New seed each time", render=False),
            *(self.own[key] for key in ("steps", "temperature", "guidance", "order")),
        ]
        self.drawn = gr.State([])

    def render(self) -> None:
        """Render the header, the tabs and the settings."""
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
            with gr.Column(scale=1, min_width=110, elem_classes="run"):
                run_button = _run_button("Draw")
                stop = _with_stop(run_button)
        self.examples.render()
        self.examples.click(lambda row: row[0], self.examples, self.prompt, **AT_ONCE)
        output = _note("Pictures appear here.")
        output.render()
        self._connect(self.handlers.draw, [self.prompt], run_button, stop, output)

    def _inpaint(self) -> None:
        self.own["redrawing"].render()
        with gr.Row():
            with gr.Column(min_width=300):
                editor = gr.ImageEditor(
                    label="Brush over the part to redraw",
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
                    run_button = self.own["redraw"]
                    stop = _with_stop(run_button)
                output = _note("Pictures appear here.")
                output.render()
        self._connect(self.handlers.inpaint, [prompt, editor], run_button, stop, output)

    def _caption(self) -> None:
        self.own["captions"].render()
        with gr.Row():
            with gr.Column(min_width=300):
                picture = self._picture()
            with gr.Column(min_width=300):
                run_button = self.own["caption"]
                run_button.render()
                text = gr.Textbox(label="Caption", lines=3, interactive=False)
        handler = show_errors(self.handlers.caption)
        inputs = [self.name, picture, self.seed]
        run_button.click(handler, inputs, text, preprocess=False, **RUN)

    def _reconstruct(self) -> None:
        with gr.Row():
            with gr.Column(min_width=300):
                picture = self._picture()
            with gr.Column(min_width=300):
                run_button = _run_button("Encode and decode")
                run_button.render()
                output = _note("Both pictures appear here.")
                output.render()
        handler = show_errors(self.handlers.reconstruct)
        run_button.click(handler, [self.name, picture], output, preprocess=False, **RUN)

    def _settings(self) -> None:
        count, seed, is_new_seed, *others = self.controls
        self.name.render()
        with gr.Group():
            for part in (count, *others, seed, is_new_seed):
                part.render()
        self.own["about"].render()
        outputs = [self.examples, *self.own.values()]
        self.name.change(self._change, self.name, outputs, **AT_ONCE)

    def _change(self, name: str) -> list[Any]:
        examples = gr.Dataset(samples=self._examples(name))
        return [examples, *controls_for(self.generators[name]).values()]

    def _examples(self, name: str) -> list[list[str]]:
        _, captions = self.test_data[name]
        return [[caption] for caption in captions[:NUM_EXAMPLES] or [EXAMPLE_PROMPT]]

    def _connect(
        self,
        handler: Any,
        inputs: list[Any],
        run_button: gr.Button,
        stop: gr.Button,
        output: Component,
    ) -> None:
        event = gr.on(
            [run_button.click, inputs[0].submit],
            show_errors(handler),
            [self.name, *inputs, *self.controls],
            [output, self.seed, self.drawn],
            show_progress="minimal",
            show_progress_on=output,
            **RUN,
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
        has_pictures = any(pictures for pictures, _ in self.test_data.values())
        with gr.Row():
            drawn = gr.Button("Use the first drawn picture", size="sm", min_width=120)
            test = gr.Button("Use a test picture", size="sm", min_width=120, visible=has_pictures)
        drawn.click(_first_drawn, self.drawn, target, **AT_ONCE)
        test.click(self._random_test_picture, self.name, target, **AT_ONCE)

    def _random_test_picture(self, name: str) -> Image.Image:
        pictures, _ = self.test_data[name]
        if not pictures:
            raise page_error("This prior has no test pictures: upload one.")
        return upscale(secrets.choice(pictures), CANVAS)


def _first_drawn(pictures: Pictures) -> Image.Image:
    if not pictures:
        raise page_error("No picture yet: draw one first.")
    return upscale(pictures[0], CANVAS)


def _with_stop(run_button: gr.Button) -> gr.Button:
    run_button.render()
    return gr.Button("Stop", scale=1, min_width=80)


def _run_button(text: str, *, interactive: bool = True) -> gr.Button:
    return gr.Button(
        text, variant="primary", scale=3, min_width=100, interactive=interactive, render=False
    )


def _prompt(text: str) -> gr.Textbox:
    hint = "A description; leave it empty for any picture"
    return gr.Textbox(text, label="Prompt", placeholder=hint, max_lines=6, render=False)


def _slider(
    label: str, value: float, *, minimum: float, maximum: float, step: float, visible: bool = True
) -> gr.Slider:
    """Return a slider whose range includes the default of params.yaml."""
    return gr.Slider(
        minimum,
        max(maximum, value),
        value,
        step=step,
        label=label,
        visible=visible,
        buttons=[],
        render=False,
    )


def _note(text: str, *, visible: bool = True) -> gr.HTML:
    return gr.HTML(f'<p class="note">{escape(text)}</p>', visible=visible, render=False)
