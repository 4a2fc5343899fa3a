"""What the scripts of this folder share: download, extract, convert, check. No torch, no segkit."""

import sys
import tarfile

if not hasattr(tarfile, "data_filter"):
    sys.exit("this script needs Python 3.11.4 or later, whose tarfile can refuse what does harm")
try:
    import numpy  # noqa: F401
    import PIL  # noqa: F401
except ImportError as error:
    sys.exit(
        f"{error}: this script needs numpy and pillow. Use the Python of Segbook's environment "
        "(.venv/bin/python), or: pip install numpy pillow"
    )
