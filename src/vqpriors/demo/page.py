"""Layout of the page: its controls, connected to the handlers of their events."""

import secrets
from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.components import Component

from vqpriors.demo.controls import controls_for, note, prompt_box, run_button, slider, with_stop
from vqpriors.demo.handlers import CANVAS, RUNNING, Handlers, show_errors
from vqpriors.demo.streaming import Pictures, example_pictures, upscale
from vqpriors.inference.generator import Generator
from vqpriors.inference.limits import EXAMPLE_PROMPT

TITLE = "vqpriors"
SUBTITLE = "Draw pictures from prompts, redraw parts of them, or caption them."
NUM_PICTURES, MAX_PICTURES, NUM_EXAMPLES = 8, 16, 6
USED_SETTINGS = ((True, True), (True, True), (False, True), (False, False))  # of drawing, seed
MAX_WAITING, UPLOAD_SECONDS = 16, 3600
PAINT = "#f97316b0"
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


class _Layout:
    """The page's components and their events."""

    def __init__(self, generators: Mapping[str, Generator]):
        first = next(iter(generators))
        self.generators, self.handlers = generators, Handlers(generators)
        self.test_data = {name: example_pictures(g.folder) for name, g in generators.items()}
        self.own = controls_for(generators[first])
        examples = self._examples(first)
        self.prompt = prompt_box(examples[0][0])
        self.examples = gr.Dataset(
            components=[gr.Textbox(render=False)],
            samples=examples,
            show_label=False,
            elem_classes="examples",
            render=False,
        )
        self.name = gr.Dropdown(
            list(generators), value=first, label="Model", visible=len(generators) > 1, render=False
        )
        self.seed = gr.Number(0, precision=0, label="Seed", render=False)
        self.controls = [
            slider("Pictures", NUM_PICTURES, minimum=1, maximum=MAX_PICTURES, step=1),
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
                tabs = []
                for name, layout in (
                    ("Draw", self._draw),
                    ("In-paint", self._inpaint),
                    ("Caption", self._caption),
                    ("Reconstruct", self._reconstruct),
                ):
                    with gr.Tab(name) as tab:
                        layout()
                    tabs.append(tab)
            with gr.Column(scale=1, min_width=260):
                groups = self._settings()
        for tab, visible in zip(tabs, USED_SETTINGS, strict=True):
            shown = [gr.update(visible=is_used) for is_used in visible]
            tab.select(lambda shown=shown: shown, None, groups, **AT_ONCE)

    def _draw(self) -> None:
        with gr.Row():
            with gr.Column(scale=6, min_width=280):
                self.prompt.render()
            with gr.Column(scale=1, min_width=110, elem_classes="run"):
                start = run_button("Draw")
                stop = with_stop(start)
        self.examples.render()
        self.examples.click(lambda row: row[0], self.examples, self.prompt, **AT_ONCE)
        output = note("Pictures appear here.")
        output.render()
        self._connect(self.handlers.draw, [self.prompt], start, stop, output)

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
                prompt = prompt_box("")
                prompt.render()
                paste = gr.Checkbox(True, label="Keep the pixels outside the brush")
                with gr.Row():
                    start = self.own["redraw"]
                    stop = with_stop(start)
                output = note("Pictures appear here.")
                output.render()
        self._connect(self.handlers.inpaint, [prompt, editor, paste], start, stop, output)

    def _caption(self) -> None:
        self.own["captions"].render()
        with gr.Row():
            with gr.Column(min_width=300):
                picture = self._picture()
            with gr.Column(min_width=300):
                start = self.own["caption"]
                start.render()
                text = gr.Textbox(label="Caption", lines=3, interactive=False)
                problem = gr.HTML()
        handler = show_errors(self.handlers.caption, others=1)
        inputs = [self.name, picture, self.seed]
        start.click(handler, inputs, [problem, text], preprocess=False, **RUN)

    def _reconstruct(self) -> None:
        with gr.Row():
            with gr.Column(min_width=300):
                picture = self._picture()
            with gr.Column(min_width=300):
                start = run_button("Encode and decode")
                start.render()
                output = note("Both pictures appear here.")
                output.render()
        handler = show_errors(self.handlers.reconstruct, others=0)
        start.click(handler, [self.name, picture], output, preprocess=False, **RUN)

    def _settings(self) -> list[gr.Group]:
        """Render the settings; return those of drawing and the seed, each as a group."""
        count, seed, is_new_seed, *others = self.controls
        self.name.render()
        with gr.Group() as drawing:
            for part in (count, *others, is_new_seed):
                part.render()
        with gr.Group() as seeding:
            seed.render()
        self.own["about"].render()
        outputs = [self.examples, *self.own.values()]
        self.name.change(self._change, self.name, outputs, **AT_ONCE)
        return [drawing, seeding]

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
        start: gr.Button,
        stop: gr.Button,
        output: Component,
    ) -> None:
        event = gr.on(
            [start.click, inputs[0].submit],
            show_errors(handler, others=2),
            [self.name, *inputs, *self.controls],
            [output, self.seed, self.drawn],
            show_progress="minimal",
            show_progress_on=output,
            **RUN,
        )
        stop.click(_mark_stopped, output, output, cancels=[event], **AT_ONCE)

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

    def _random_test_picture(self, name: str) -> Any:
        pictures, _ = self.test_data[name]
        if not pictures:
            gr.Warning("This model comes without test pictures: upload one.")
            return gr.skip()
        return upscale(secrets.choice(pictures), CANVAS)


def _mark_stopped(html: str | None) -> str:
    """Keep the last preview, which is no longer running."""
    return (html or "").replace(RUNNING, "stopped")


def _first_drawn(pictures: Pictures) -> Any:
    if not pictures:
        gr.Warning("No picture yet: draw one first.")
        return gr.skip()
    return upscale(pictures[0], CANVAS)
