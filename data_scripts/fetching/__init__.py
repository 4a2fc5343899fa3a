"""What the scripts of this folder share: download, extract, convert, check. No torch, no segkit."""

import sys

try:
    import numpy  # noqa: F401
    import PIL  # noqa: F401
except ImportError as error:
    sys.exit(
        f"{error}: this script needs numpy and pillow. Use the Python of Segbook's environment "
        "(.venv/bin/python), or: pip install numpy pillow"
    )
