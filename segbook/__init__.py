"""The workbench around segkit: recipes, runs, figures, widgets and the command line.

Importing this package imports nothing else, so that ``segbook --help`` answers at once; take what
you need from ``segbook.recipes``, ``segbook.runs``, ``segbook.figures`` and ``segbook.widgets``.
"""

__version__ = "0.4.0"
