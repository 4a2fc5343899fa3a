"""The kernel's process: ipykernel's application, run as a script, where nothing is lost.

It is started with ``-P``: neither the working directory nor this one is in front of ``sys.path``,
where a ``random.py`` or a folder ``ipykernel`` would be taken for the module of that name. The
notebook's folder and the working directory come to the end of the path when all has started, so
that modules beside the notebook can be imported and hide no other.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
import sys
import tempfile
import warnings
from typing import Any

from ipykernel.kernelapp import IPKernelApp
from IPython.core.autocall import ZMQExitAutocall
from IPython.paths import get_ipython_dir
from jupyter_client.jsonutil import json_clean, json_default


class Exit(ZMQExitAutocall):
    """``exit``, ``exit()`` and ``quit(1)`` as in a script; IPython's go on to the cell's end."""

    def __call__(self, code: Any = None) -> None:
        """End the cell."""
        sys.exit(code)


class Application(IPKernelApp):
    """A kernel whose output waits for whoever reads it, and may be any text."""

    def init_iopub(self, context: Any) -> None:
        """Open the socket of outputs, with a queue that has no end.

        By default it holds a thousand messages; what comes while it is full is dropped.
        """
        context.sndhwm = 0  # of the sockets that are made from here on
        self.session.pack = pack
        super().init_iopub(context)


def pack(message: Any) -> bytes:
    r"""A message as JSON; half of a surrogate pair, which UTF-8 has not, is shown as ``\udce9``.

    Such halves come with names of files that are no UTF-8, and with texts that were cut. Jupyter's
    own function raises, and the message is lost: a cell's output, or the reply that it has ended.
    """
    write = functools.partial(json.dumps, default=json_default, ensure_ascii=False, allow_nan=False)
    try:
        text = write(message)
    except (TypeError, ValueError):
        text = write(json_clean(message))
    return re.sub("[\ud800-\udfff]", lambda half: "\\" + ascii(half[0])[1:-1], text).encode()


def silence_tqdm() -> None:
    """Let ``TQDM_DISABLE`` reach the bars of ``tqdm.auto``, ``.notebook``, ``.rich`` and ``.tk``.

    They hand ``disable=False`` to the common base, which then does not ask the environment.
    ``disable=False`` where the notebook says so shows a bar as ever.
    """
    from tqdm.std import tqdm

    make, initialize = tqdm.__new__, tqdm.__init__
    place = list(inspect.signature(initialize).parameters).index("disable") - 1  # without self

    def __new__(cls: type, *args: Any, **options: Any) -> Any:
        bar = make(cls, *args, **options)
        given = args[place] if len(args) > place else options.get("disable")
        bar._silent = given is None
        return bar

    @functools.wraps(initialize)
    def __init__(self: Any, *args: Any, **options: Any) -> None:
        if self._silent and len(args) <= place:
            options["disable"] = True
        initialize(self, *args, **options)

    tqdm.__new__, tqdm.__init__ = __new__, __init__


def settle_ipython(own: str) -> None:
    """Let IPython keep its files in a folder of the run where its own cannot be written."""
    try:
        with tempfile.TemporaryFile(dir=get_ipython_dir()):
            pass
    except (OSError, RuntimeError):  # no home at all
        os.environ["IPYTHONDIR"] = own


def main() -> None:
    """Start the kernel, and run it until it is asked to shut down."""
    folders = json.loads(sys.argv.pop(1))  # for the end of sys.path
    settle_ipython(os.path.dirname(sys.argv[sys.argv.index("-f") + 1]))
    if os.environ.get("TQDM_DISABLE", "0") not in ("", "0"):
        silence_tqdm()
    application = Application.instance()
    application.initialize(sys.argv[1:])
    warnings.filterwarnings("ignore", "To exit: use")  # IPython's advice to who sits before it
    shell = application.shell
    assert shell is not None
    shell.exiter = shell.user_ns["exit"] = shell.user_ns["quit"] = Exit()
    sys.path += [folder for folder in folders if folder not in sys.path]
    application.start()


if __name__ == "__main__":
    main()
