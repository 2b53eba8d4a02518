"""Colours, fonts and spacing of the page."""

from gradio.themes import Base, Default

CSS = """
.gradio-container { width: 100%; max-width: 1240px !important; margin: 0 auto; }
.gradio-container .main { padding: 16px clamp(12px, 3vw, 32px) !important; }
.html-container { padding: 0 !important; }
header h1 { margin: 0; font-size: 26px; letter-spacing: -0.02em; }
header p, .status, .about, .tiles figcaption { margin: 0; opacity: 0.75; }
.status, .about, .tiles figcaption { font-size: 13px; }
.tiles { display: flex; flex-wrap: wrap; gap: 10px; }
.tiles figure { margin: 0; }
.tiles img { display: block; margin: 0; max-width: 100%; border-radius: 4px;
  image-rendering: pixelated; box-shadow: 0 0 0 1px var(--border-color-primary); }
.tiles figcaption { margin-top: 4px; }
.status { margin-top: 8px; }
.note { margin: 0; padding: 10px 12px; border-radius: 6px;
  background: var(--background-fill-secondary); }
.error { border-left: 3px solid #dc2626; overflow-wrap: anywhere; }
.toast-wrap { top: auto !important; right: auto !important; bottom: 16px; left: 16px; }
@media (max-width: 640px) {
  .tiles { display: grid; grid-template-columns: 1fr 1fr; }
  .tiles figure:only-child { grid-column: 1 / 3; }
  .tiles img { width: 100%; height: auto; }
  .run { flex-flow: row nowrap !important; }
  .run > button { width: auto; }
  .examples button:nth-child(n + 4) { display: none; }
}
"""


def theme() -> Base:
    """Return gradio's default theme in other colours, with system fonts."""
    return Default(
        primary_hue="indigo",
        neutral_hue="slate",
        spacing_size="sm",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
