"""Configuration of the web site: ``sphinx-build -c docs . site``, from the root of the repository.

The source directory is the root, so that the guides beside the code are pages of the site and links
between pages are the same there and in the repository.
"""

import fastbp

project = "fastbp"
author = "the fastbp developers"
copyright = author  # noqa: A001 - the name that Sphinx reads
release = fastbp.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
]
root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    ".github/CONTRIBUTING.md",
    "benchmarks/README.md",
    "benchmarks/tables/README.md",
    "docs/**",
    "fastbp/*/README.md",
    "tests/README.md",
]
exclude_patterns = ["docs/_templates"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
templates_path = ["_templates"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "furo"
html_title = f"fastbp {release}"
html_additional_pages = {"index": "redirect.html"}  # from the folder of the site to its first page
html_theme_options = {"source_repository": "", "top_of_page_buttons": []}
