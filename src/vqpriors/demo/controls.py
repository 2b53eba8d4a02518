"""Components of the page that depend on the chosen generator, and their parts."""

from html import escape
from typing import Any

import gradio as gr

from vqpriors.demo.handlers import decoding_orders
from vqpriors.inference.generator import Generator

MAX_STEPS = 64
NO_CAPTIONS = "This prior can't caption. Train one that can: dvc exp run -S prior.arch=cftn2"
NO_REDRAWING = (
    "This prior draws in one order, from the top, and can't redraw parts. Train one that can: "
    "dvc exp run -S prior.arch=cftn"
)


def controls_for(generator: Generator) -> dict[str, Any]:
    """Return the controls that depend on the generator, to render or to update rendered ones."""
    defaults, sampler, spec = generator.defaults, generator.sampler.config, generator.spec
    can_redraw = "in-painting" in generator.sampler.module.EDITS
    codes = f"{spec.rows} x {spec.columns} codes, codebook of {spec.codebook_size:,}"
    orders = list(decoding_orders(generator))
    return {
        "steps": slider(
            "Steps",
            defaults.steps,
            minimum=1,
            maximum=MAX_STEPS,
            step=1,
            visible=generator.has_steps,
        ),
        "temperature": slider("Temperature", sampler.temperature, minimum=0, maximum=3, step=0.05),
        "guidance": slider("Guidance", defaults.guidance, minimum=0, maximum=10, step=0.1),
        "order": gr.Dropdown(
            orders,
            value=getattr(sampler, "order", None),
            label="Decoding order",
            visible=bool(orders),
            render=False,
        ),
        "redrawing": note(NO_REDRAWING, visible=not can_redraw),
        "redraw": run_button("Redraw", interactive=can_redraw),
        "captions": note(NO_CAPTIONS, visible=not generator.is_captioner),
        "caption": run_button("Caption", interactive=generator.is_captioner),
        "about": gr.HTML(
            f'<p class="about">{escape(generator.arch)}: {generator.image.size} px, {codes}</p>',
            render=False,
        ),
    }


def with_stop(start: gr.Button) -> gr.Button:
    """Render a button that starts a call; return, rendered, the one that stops it."""
    start.render()
    return gr.Button("Stop", scale=1, min_width=80)


def run_button(text: str, *, interactive: bool = True) -> gr.Button:
    """Return a button that starts a call."""
    return gr.Button(
        text, variant="primary", scale=3, min_width=100, interactive=interactive, render=False
    )


def prompt_box(text: str) -> gr.Textbox:
    """Return the box for a prompt."""
    hint = "A description; leave it empty for any picture"
    return gr.Textbox(text, label="Prompt", placeholder=hint, max_lines=6, render=False)


def slider(
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


def note(text: str, *, visible: bool = True) -> gr.HTML:
    """Return a line of text."""
    return gr.HTML(f'<p class="note">{escape(text)}</p>', visible=visible, render=False)
