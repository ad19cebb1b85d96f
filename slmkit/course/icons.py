"""The theme's icons, of which a page needs a dozen: the font keeps those, and the script that draws all of them goes.

The theme sends each visitor Font Awesome twice, as a script and as a font, 700 kB when compressed. Its style sheet
shows the same icons from the font alone. So the script is emptied, and font and style sheet keep what the site uses.
The cut font no longer bears the reserved name of the whole one, as its licence asks (SIL Open Font License 1.1).
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

ICON = re.compile(r"\bfa-[a-z0-9-]+")
RULE = re.compile(r"(?<=})(?:\.fa-[a-z0-9-]+(?:::?before)?,?)+{[^}]*}")
GLYPH = re.compile(r'"\\(f[0-9a-f]{3})"')
FONT = "vendor/fontawesome/webfonts/fa-solid-900"
NAME, OURS = re.compile(r"Font Awesome(\\?) 6 Free"), r"slmkit\1 icons"


def lighten(app: Sphinx, exception: Exception | None):
    """Cuts the built site's style sheet and font to the icons that its pages and the theme's scripts name."""
    static = Path(app.outdir, "_static")
    script = static / "scripts" / "fontawesome.js"
    if exception or app.builder.format != "html" or not script.is_file():
        return
    script.write_text("// The icons come from the font.\n")
    writers = [*Path(app.outdir).rglob("*.html"), *(static / "scripts").glob("*.js")]
    used = {name for path in writers for name in ICON.findall(path.read_text(encoding="utf-8"))}
    glyphs = set()
    for path in sorted(static.rglob("*.css")):
        style = RULE.sub(lambda rule: rule[0] if used & set(ICON.findall(rule[0])) else "", path.read_text("utf-8"))
        style = NAME.sub(OURS, style.replace(f'url(../{FONT}.woff2) format("woff2"),', ""))
        glyphs |= {int(code, 16) for code in GLYPH.findall(style)}
        path.write_text(style, encoding="utf-8")
    cut(static / f"{FONT}.ttf", glyphs)
    (static / f"{FONT}.woff2").unlink()


def cut(path: Path, glyphs: set[int]):
    """Leaves in a font the glyphs of these code points, and of its names the copyright and the licence."""
    from fontTools import subset

    options = subset.Options(name_IDs=[0, 13, 14], hinting=False, recalc_timestamp=False)
    with subset.load_font(path, options) as font:
        cutter = subset.Subsetter(options)
        cutter.populate(unicodes=glyphs)
        cutter.subset(font)
        subset.save_font(font, path, options)


def setup(app: Sphinx):
    app.connect("build-finished", lighten)
