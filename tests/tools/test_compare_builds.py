"""Two builds of one source are equal, byte for byte; the tool explains what measurements change, and no more."""

import json
import os
import runpy
import subprocess
import sys

import pytest

from slmkit.paths import root

TOOL = root() / "tools" / "compare_builds.py"
compare, UNEXPLAINED = (runpy.run_path(str(TOOL))[name] for name in ("compare", "UNEXPLAINED"))

CONF = """
extensions = ["myst_nb", "sphinx_design", "sphinx_togglebutton", "sphinx_copybutton", "slmkit.course.sphinx_ext"]
html_theme = "sphinx_book_theme"
html_baseurl = "https://example.org/book"
html_copy_source = False
myst_enable_extensions = ["dollarmath"]
exclude_patterns = ["conf.py", "out", "trees", "build"]
"""
PAGE = """
# A page

Of {fact}`survey.models_v3` models, $x^2$ and [another](other).

```{drawn} decoder
:alt: The parts of a decoder.

A *decoder*.
```

:::{dropdown} More
folded
:::
"""
BUILD = "from sphinx.cmd.build import main; import sys; sys.exit(main(['-q', '-W', '-d', 'trees', '.', 'out']))"


def write(site, **files):
    for name, text in files.items():
        path = site / name.replace("__", "/").replace("_html", ".html")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return site


def test_a_small_book_built_twice_in_two_places_is_the_same(tmp_path):
    for place, seed in (("one", "1"), ("a/longer/path/two", "2")):
        folder = tmp_path / place
        write(folder, **{"conf.py": CONF, "index.md": PAGE + "\n```{toctree}\nother\n```\n", "other.md": "# Other\n"})
        # A seed for the order of sets, of its own in each: that order must not reach a page.
        environment = os.environ | {"SLMKIT_BUILD": str(folder / "build"), "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", BUILD], cwd=folder, env=environment, check=True)
    one, two = tmp_path / "one/out", tmp_path / "a/longer/path/two/out"
    assert compare(one, two) == ({}, [])
    assert (one / "_images" / "decoder.svg").is_file()
    assert (one / "sitemap.xml").is_file()


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ("It took 12.5 s.", "It took 9 s.", "time"),
        ("It took 1 min 07 s.", "It took 55 s.", "time"),
        ("It took 12.5 s and 3 MB.", "It took 9 s and 4 MB.", "time"),
        ("at 1,024 tokens per second", "at 998 tokens per second", "rate"),
        ("77 MB at the peak", "78.5 MB at the peak", "memory"),
        ("commit 0123456789ab · 2026-01-02", "commit ba9876543210-dirty · 2026-01-02", "commit"),
        ("run on 2026-01-02", "run on 2026-01-03", "day"),
        ("slope 0.31", "slope -0.29", "other number that a lab measured"),
        (" 8    9.7 ± 2.5", " 8   11.1 ± 0.3", "other number that a lab measured"),
        (f'src="{"a" * 64}.svg"', f'src="{"b" * 64}.svg"', "figure of a measurement, named by its bytes"),
        ("ms 8.838, bits 1.1", "ms 9, bits 1.1", "other number that a lab measured"),
        ("12 s</p>\n<p>614 MB", "16 s</p>\n<p>616 MB", "memory"),
        (
            "held 1, exceptions \nA at 64 was to take 1.2 times as long as B at 64, took 0.9\n",
            "held 2, exceptions \n",
            "pair of times not as predicted",
        ),
        (
            "14-operators-decode-X: linear 90, mul 1.2, add 1 (percent)",
            "14-operators-decode-X: linear 90, add 1.3, mul 1 (percent)",
            "operators by the time that they took",
        ),
    ],
)
def test_what_a_measurement_changes_has_its_kind(tmp_path, one, other, kind):
    sites = [write(tmp_path / name, labs__a_html=f"<p>{text}</p>") for name, text in (("x", one), ("y", other))]
    found, unexplained = compare(*sites)
    assert kind in found
    assert unexplained == []


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("labs/a.html", "It took 12 s.", "It needed 12 s."),
        ("labs/a.html", "12 s", "12 s more"),
        ("book/a.html", "It took 12.", "It took 13."),
        ("book/a.html", 'id="x1"', 'id="x2"'),
        ("labs/a.html", 'src="/home/one/a.svg"', 'src="/home/two/a.svg"'),
        ("labs/a.html", "object at 0x7f0a12", "object at 0x7f0b99"),
    ],
)
def test_what_else_changes_is_shown(tmp_path, name, one, other):
    sites = [write(tmp_path / site, **{name: text}) for site, text in (("x", one), ("y", other))]
    found, unexplained = compare(*sites)
    assert found[UNEXPLAINED][name] == 1
    assert one in unexplained[0]
    assert other in unexplained[0]
    ended = subprocess.run([sys.executable, TOOL, *sites], capture_output=True, text=True)
    assert ended.returncode == 1
    assert name in ended.stdout


def test_words_of_the_search_index_are_compared_and_its_numbers_are_not(tmp_path):
    def site(name, terms):
        folder = write(tmp_path / name)
        folder.mkdir()
        (folder / "searchindex.js").write_text(f"Search.setIndex({json.dumps({'terms': terms})})")
        return folder

    one = site("x", {"cache": 3, "took12": [4, 5], "took13": 7})
    assert compare(one, site("y", {"cache": 3, "took14": 5, "min": [5, 8]}))[1] == []
    assert "cach: 3" in compare(one, site("z", {"cach": 3, "took12": [4, 5]}))[1][0]


def test_a_page_that_one_site_lacks_is_shown(tmp_path):
    one, two = write(tmp_path / "x", a_html="a", b_html="b"), write(tmp_path / "y", a_html="a")
    assert compare(one, two)[1] == [f"b.html: only in {one}"]
