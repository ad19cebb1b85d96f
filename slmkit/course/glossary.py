"""The glossary's back-links: under each entry the pages that link it with the role {term}, in the book's order."""

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

TERMS = "slmkit_terms"  # in the environment: page -> the terms that it links, in small letters


def collect(app: Sphinx, doctree: nodes.document):
    """Notes the terms that a page links, before Sphinx turns them into references."""
    linked = {node["reftarget"].lower() for node in doctree.findall(addnodes.pending_xref) if node["reftype"] == "term"}
    _known(app.env)[app.env.docname] = linked


def forget(app: Sphinx, env: BuildEnvironment, docname: str):
    _known(env).pop(docname, None)


def add_links(app: Sphinx, doctree: nodes.document, docname: str):
    """Adds the line "Used in" to each definition of a page with a glossary."""
    for glossary in doctree.findall(addnodes.glossary):
        for entry in glossary.findall(nodes.definition_list_item):
            names = {term.astext().lower() for term in entry.findall(nodes.term)}
            pages = [page for page in app.env.collect_relations() if names & _known(app.env).get(page, set())]
            links = [_link(app, docname, page) for page in pages if page != docname]
            if links:
                between = [part for link in links for part in (nodes.Text(", "), link)][1:]
                line = nodes.paragraph("", "", nodes.Text("Used in: "), *between, classes=["slm-used"])
                next(entry.findall(nodes.definition)).append(line)


def _link(app: Sphinx, docname: str, page: str) -> nodes.reference:
    address = app.builder.get_relative_uri(docname, page)
    return nodes.reference("", app.env.titles[page].astext(), refuri=address, internal=True)


def _known(env: BuildEnvironment) -> dict[str, set[str]]:
    if not hasattr(env, TERMS):
        setattr(env, TERMS, {})
    return getattr(env, TERMS)


def setup(app: Sphinx):
    app.connect("doctree-read", collect)
    app.connect("env-purge-doc", forget)
    app.connect("doctree-resolved", add_links)
