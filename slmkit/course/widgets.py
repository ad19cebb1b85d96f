"""What the finished pages get beside their text: the scripts of the pages that use one, and mended markup.

Jupyter Book loads every script of the static folder on every page, so the widgets lie in book/extra (html_extra_path),
and a page that holds the class on the left loads the script on the right.
"""

import re

from sphinx.application import Sphinx

SCRIPTS = {"slm-filter": "widgets/tables.js", "slm-calculator": "widgets/calculator.js"}

# Roles that docutils writes and that the rules for accessible pages (ARIA 1.2) no longer allow.
OUTDATED = (' role="doc-biblioentry"', ' role="doc-backlink"')


def finish(app: Sphinx, pagename: str, templatename: str, context: dict, doctree):
    """Runs before a page is written; `context["body"]` is its text as HTML."""
    body = context.get("body") or ""
    for role in OUTDATED:
        body = body.replace(role, "")
    body = body.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
    for kind, script in SCRIPTS.items():
        if re.search(rf'class="[^"]*\b{kind}\b', body):
            body += f'<script defer src="{context["pathto"](script, resource=True)}"></script>\n'
    context["body"] = body


def setup(app: Sphinx):
    app.connect("html-page-context", finish)
