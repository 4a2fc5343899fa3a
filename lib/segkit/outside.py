"""Code of a user's own wherever a name of a catalog goes: a network, a loss, a backbone, data.

    my_net.py:build          a function of a file; a relative path counts from the current folder
    my_package.nets:build    a function of a module: one that lies there, or is installed

To look such a name up executes the file, which can do whatever its user can. So names come from
whoever types a command or writes a recipe; `segkit.load_model` takes none from a weights file.

A file and what it imports from its own folder are executed from the bytes of which the sha256 is
known, as modules of a package that no other file can name: two folders may each have a helper.py,
imported at the top or within a method. A module of Python's is Python's, whatever lies there. Names
that are made up while it runs (`importlib.import_module`) lead to installed modules only.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import difflib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Collection, Iterator
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from segkit.files import FileError, nearby_said, open_regular, shown, what_is_there

LARGEST = 2**24
"""Bytes of a file of code."""
NOBODYS = {"segkit", "segbook", *sys.stdlib_module_names}
"""Modules that are none of a user's, even where a file beside his has the name."""

_codes: dict[str, Code] = {}
"""What was executed in this process, by the name of the package that it is in."""


class Code(NamedTuple):
    """A file of code, and the files that it imports from its own folder.

    Attributes:
        main: the file, from the folder on, such as ``my_net.py`` or ``my_package/nets.py``.
        root: the folder from which its imports count.
        files: the content of each by its path below ``root``, ``main`` first.
    """

    main: str
    root: Path
    files: dict[str, bytes]

    @property
    def sha256(self) -> str:
        """Of the file; where it imports others beside it, of all of them and their names."""
        if len(self.files) == 1:
            return sha256(self.files[self.main])
        lines = [f"{sha256(content)}  {name}\n" for name, content in sorted(self.files.items())]
        return sha256("".join(lines).encode())


def sha256(content: bytes) -> str:
    """In hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def is_outside(name: object) -> bool:
    """Whether a name is one of outside code, and none of a catalog's or of timm's."""
    if not isinstance(name, str) or name.startswith("timm:") or "://" in name:
        return False
    return ":" in name or name.endswith(".py")


def absolute(name: str, folder: str | Path = ".") -> str:
    """The same name with the whole path of its file, which means the same in any folder.

    Args:
        name: of outside code; of an installed module it stays as it is.
        folder: from which a relative path counts, and where a module may lie.
    """
    place, function = _split(name)
    if not place.endswith(".py"):
        found = _module_file(place, folder)
        if found is None or _is_installed(found):
            return name
        place = str(found)
    return _whole(place, folder) + (function and f":{function}")


def is_installed(name: str) -> bool:
    """Whether a name is one of an installed module, which is none of a file by its path."""
    place, _ = _split(name)
    found = None if place.endswith(".py") else _module_file(place)
    return found is not None and _is_installed(found)


def short(name: Any) -> Any:
    """A name to be read: without the folder, which is of one machine; another one as it is."""
    if not is_outside(name):
        return name
    place, function = _split(name)
    place = Path(place).name if place.endswith(".py") else place
    return f"{place}:{function}" if function else place


def path_of(name: str) -> Path:
    """The file of a name of outside code.

    Raises:
        ValueError: there is no such file or module; the message says what lies near.
    """
    place, _ = _split(name)
    if place.endswith(".py"):
        path = Path(_whole(place))
        if not path.is_file():
            if path.exists():
                raise FileError(place, what_is_there(path))
            there = sorted(each.name for each in path.parent.glob("*.py") if each.is_file())
            close = difflib.get_close_matches(path.name, there, n=3)
            near = nearby_said(place) or (f"; the closest: {', '.join(close)}" if close else "")
            raise FileError(place, f"is missing{near}: paths count from {shown(Path.cwd())}")
        return path
    found = _module_file(place)
    if found is None:
        raise ValueError(
            f"{shown(name)!r:.200}: Python finds no module {shown(place)!r:.100} in "
            f"{shown(Path.cwd())} or installed; a file is given as my_net.py:build"
        )
    return found


def read(name: str) -> Code:
    """The code that a name is about; nothing is executed.

    Of a file these are the file and what it imports from its own folder, or from its package: the
    folder of a package is the first one upward without ``__init__.py``. Of an installed module it
    is its file alone.

    Raises:
        ValueError: there is no such file, or it is no Python.
    """
    path = path_of(name)
    root = path.parent
    while (root / "__init__.py").is_file():
        root = root.parent
    main = path.relative_to(root).as_posix()
    if _is_installed(path):
        return Code(main, root, {main: _content(path)})
    above = [file.as_posix() for file in Path(main).parents][:-1]
    files, left = {}, [*(f"{package}/__init__.py" for package in above), main]
    while left:
        if (file := left.pop()) not in files:
            files[file] = _content(root / file)
            left += _imported(file, files[file], root)
    return Code(main, root, files)


def load(name: str) -> ModuleType:
    """Execute the file of a name, once for each content that it has had.

    Raises:
        ValueError: there is none, or it raises; the message says where.
    """
    path, code = path_of(name), read(name)
    module = _dotted(code.main)
    if not _is_installed(path):
        prefix = f"_outside_{sha256(f'{code.sha256} {code.main}'.encode())[:16]}"
        _codes.setdefault(prefix, code)
        if _FINDER not in sys.meta_path:
            sys.meta_path.insert(0, _FINDER)
        module = f"{prefix}.{module}"
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise FileError(path, f"cannot be executed: {_reason(error, path)}") from error


def find(name: str, *, takes: Collection[str] = ()) -> Callable[..., Any]:
    """The function, or class, that a name of outside code is of; its file is executed.

    Args:
        name: of outside code.
        takes: the arguments that it must take, by name.

    Raises:
        ValueError: as `load`, or the file has no such function; the message has the closest.
    """
    module, (place, function) = load(name), _split(name)
    there = [key for key, value in vars(module).items() if _is_own(value, module)]
    if callable(found := getattr(module, function or " ", None)):
        try:
            parameters = inspect.signature(found).parameters
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{short(name)}: Python does not say what it takes; write a function around it"
            ) from error
        takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
        if absent := [] if takes_all else [word for word in takes if word not in parameters]:
            raise ValueError(
                f"{short(name)} takes {', '.join(parameters) or 'nothing'}, and is given "
                f"{' and '.join(absent)} by name, too: let it take {' and '.join(takes)}"
            )
        return found
    close = difflib.get_close_matches(function, there, n=3, cutoff=0.5) or there[:8]
    have = f"has {', '.join(close)}" if close else "defines none"
    asked = f"has no function {shown(function)!r:.100}" if function else "is a file"
    raise FileError(
        Path(place).name if place.endswith(".py") else place,
        f"{asked}: name one of its functions, as in my_net.py:build; it {have}",
    )


@contextlib.contextmanager
def explained(name: str) -> Iterator[None]:
    """What somebody's own code raises while it is called, in a sentence that says where.

    A ValueError or OSError says it itself. Code of a catalog is left alone.

    Raises:
        ValueError: in the place of any other exception of outside code.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, ValueError | OSError) or not is_outside(name):
            raise
        raise ValueError(f"{short(name)} fails: {_reason(error, path_of(name))}") from error


def _split(name: str) -> tuple[str, str]:
    """File or module, and function; "" for none."""
    if name.endswith(".py"):
        return name, ""
    place, _, function = name.rpartition(":")
    return place, function


def _whole(path: str, folder: str | Path = ".") -> str:
    return os.path.abspath(Path(folder, Path(path).expanduser()))


def _module_file(name: str, folder: str | Path = ".") -> Path | None:
    """The file of a module by its dotted name; none of its packages is imported."""
    importlib.invalidate_caches()
    paths: Any = [str(Path(folder).absolute()), str(Path.cwd()), *sys.path]
    spec = None
    for part in name.split("."):
        with contextlib.suppress(ValueError, ImportError):
            spec = PathFinder.find_spec(part, paths)
            if spec is None and part == name.partition(".")[0]:
                spec = importlib.util.find_spec(part)  # an editable install
        if spec is None:
            return None
        paths = spec.submodule_search_locations or []
    origin = spec and spec.origin
    return Path(origin) if origin and origin.endswith(".py") else None


def _is_installed(path: Path) -> bool:
    """Whether it is where Python looks for what is installed; a folder's name alone is nothing."""
    looked = {os.path.realpath(place) for place in sys.path if place}
    places = {sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib")}
    return any(
        os.path.realpath(folder) in looked
        and (folder.name in ("site-packages", "dist-packages") or str(folder) in places)
        for folder in path.parents
    )


def _content(path: Path) -> bytes:
    with open_regular(path, LARGEST) as file:
        return file.read()


def _imported(file: str, content: bytes, root: Path) -> Iterator[str]:
    """The files below a folder that one of them imports, at its top or anywhere in it.

    Raises:
        ValueError: it is no Python.
    """
    path = root / file
    try:
        compile(content, str(path), "exec", dont_inherit=True)
        tree = ast.parse(content)
    except (SyntaxError, ValueError) as error:
        raise FileError(path, f"is no Python: {_reason(error, path)}") from error
    for node in ast.walk(tree):
        parts = file.split("/")
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level < len(parts):
            above = parts[: -node.level] if node.level else []
            base = ".".join(above + (node.module or "").split(".")).strip(".")
            names = [f"{base}.{each.name}".strip(".") for each in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] in NOBODYS:
                continue
            if parts[-1] == "*":
                parts.pop()
                for each in sorted(root.joinpath(*parts).glob("*.py")):
                    yield each.relative_to(root).as_posix()
            for count in range(1, len(parts) + 1):
                stem = "/".join(parts[:count])
                for each in (f"{stem}/__init__.py", f"{stem}.py"):
                    if (root / each).is_file():
                        yield each
                        break


class _Finder(MetaPathFinder, Loader):
    """Finds the files of each code below a package of its own, whose name is of its sha256."""

    @classmethod
    def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The module of a file, or of a folder with some."""
        prefix, _, name = fullname.partition(".")
        if (code := _codes.get(prefix)) is None:
            return None
        stem = name.replace(".", "/")
        for file, inside in ((f"{stem}/__init__.py", []), (f"{stem}.py", None)):
            if file in code.files:
                spec = ModuleSpec(fullname, cls(), origin=str(code.root / file))
                spec.submodule_search_locations, spec.has_location = inside, True
                return spec
        if not name or any(file.startswith(f"{stem}/") for file in code.files):
            return ModuleSpec(fullname, cls(), is_package=True)
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Execute the bytes that were read, whatever the file holds now."""
        prefix = module.__name__.partition(".")[0]
        code, spec = _codes[prefix], module.__spec__
        if spec and (origin := spec.origin):
            bound = functools.partial(_import, prefix)
            vars(module)["__builtins__"] = {**vars(builtins), "__import__": bound}
            content = code.files[Path(origin).relative_to(code.root).as_posix()]
            exec(compile(content, origin, "exec", dont_inherit=True), vars(module))


_FINDER = _Finder()


def _import(
    prefix: str, name: str, globals: Any = None, locals: Any = None, fromlist: Any = (),
    level: int = 0,
) -> ModuleType:  # fmt: skip
    """What an import statement of somebody's file calls: a file beside it comes first."""
    top = name.partition(".")[0]
    own = f"{prefix}.{top}"
    if level or top in NOBODYS or _Finder.find_spec(own) is None:
        return __import__(name, globals, locals, fromlist, level)
    module = __import__(f"{prefix}.{name}", globals, locals, fromlist, 0)
    return module if fromlist else sys.modules[own]


def _dotted(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _is_own(value: Any, module: ModuleType) -> bool:
    own = inspect.isfunction(value) or inspect.isclass(value)
    return own and value.__module__ == module.__name__ and not value.__name__.startswith("_")


def _reason(error: BaseException, path: Path) -> str:
    """What was raised and in which line of the file, on one line."""
    frames = traceback.extract_tb(error.__traceback__)  # of the run's copy, maybe
    lines = [each.lineno for each in frames if Path(each.filename).name == path.name]
    if isinstance(error, SyntaxError):
        lines = [error.lineno]
    where = f" (line {lines[-1]})" if lines and lines[-1] else ""
    said = str(error.msg if isinstance(error, SyntaxError) else error).partition("\n")[0]
    said = re.sub(r"\b_outside_[0-9a-f]{16}\.", "", said)
    return f"{type(error).__name__}: {shown(said):.300}{where}"
