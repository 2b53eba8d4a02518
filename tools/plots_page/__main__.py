"""Bundle the page of `dvc plots show` with its scripts, so that it needs no network.

Fills page.html with Vega, Vega-Lite and Vega-Embed from vl-convert-python and their licences. The
versions match the Vega-Lite 5 charts that DVC writes.
"""

from pathlib import Path

import vl_convert  # pyright: ignore[reportMissingImports]

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / ".dvc" / "plots" / "page.html"
VEGA_LITE = "5.21"
DVC_PLACEHOLDERS = ("{scripts}", "{plot_divs}", "{refresh_tag}")


def main() -> None:
    """Write the page that .dvc/config names."""
    bundle = vl_convert.javascript_bundle(vl_version=VEGA_LITE)
    for mark in (*DVC_PLACEHOLDERS, "</script"):
        assert mark not in bundle, f"the bundle contains {mark}, which would break the page"
    versions = (
        f"Vega {vl_convert.get_vega_version()}, Vega-Lite {VEGA_LITE}, "
        f"Vega-Embed {vl_convert.get_vega_embed_version()}"
    )
    page = (HERE / "page.html").read_text()
    page = page.replace("%VERSIONS%", versions)
    page = page.replace("%LICENCES%", (HERE / "licences.txt").read_text().strip())
    page = page.replace("%BUNDLE%", bundle.strip())
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page)
    print(f"{PAGE.relative_to(HERE.parents[1])}: {versions}, {len(page):,} bytes")


if __name__ == "__main__":
    main()
