"""Bundle the page of `dvc plots show` with its scripts, so that it needs no network.

Fills page.html with style.css, charts.js, layout.js, and Vega, Vega-Lite and Vega-Embed from
vl-convert-python with their licences. DVC writes charts for Vega-Lite 5, which Vega-Lite 6 draws.
"""

from pathlib import Path

import vl_convert  # pyright: ignore[reportMissingImports]

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / ".dvc" / "plots" / "page.html"
VEGA_LITE = "6.4"
DVC_PLACEHOLDERS = ("{scripts}", "{plot_divs}", "{refresh_tag}")
PARTS = {
    "%LICENCES%": "licences.txt",
    "%STYLE%": "style.css",
    "%CHARTS%": "charts.js",
    "%LAYOUT%": "layout.js",
}


def main() -> None:
    """Write the page that .dvc/config names."""
    bundle = vl_convert.javascript_bundle(vl_version=VEGA_LITE)
    for mark in (*DVC_PLACEHOLDERS, "</script"):
        assert mark not in bundle, f"the bundle contains {mark}, which would break the page"
    versions = (
        f"Vega {vl_convert.get_vega_version()}, Vega-Lite {VEGA_LITE}, "
        f"Vega-Embed {vl_convert.get_vega_embed_version()}"
    )
    page = (HERE / "page.html").read_text().replace("%VERSIONS%", versions)
    for mark, name in PARTS.items():
        page = page.replace(mark, (HERE / name).read_text().strip())
    page = page.replace("%BUNDLE%", bundle.strip())
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page)
    print(f"{PAGE.relative_to(HERE.parents[1])}: {versions}, {len(page):,} bytes")


if __name__ == "__main__":
    main()
