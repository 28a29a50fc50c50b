"""Build a world model: eleven lessons, one module for each, and the small pixel world they all look at.

The modules are named like the lessons. Import the one you want (`from wmcourse.mdn_rnn import MDNRNN`);
this package itself loads nothing, so that `import wmcourse` is quick.
"""

import importlib
import sys

__version__ = "0.1.0"

# Gymnasium 1.x has no plugins: a world is known once its package is imported, after gymnasium itself.
# `gym.make("wmcourse:wmcourse/Dodge-v0")` does both; `import gymnasium, wmcourse` makes the plain id known.
if "gymnasium" in sys.modules:
    importlib.import_module("wmcourse.worlds")
