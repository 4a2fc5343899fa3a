"""Code of a user's own wherever a name of a catalog goes: a network, a loss, a backbone, data.

    my_net.py:build          a function of a file; a relative path counts from the current folder
    my_package.nets:build    a function of a module: one that lies there, or is installed

To look such a name up executes the file, which can do whatever its user can. So names come from
whoever types a command or writes a recipe; `segkit.load_model` takes none from a weights file.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable, Collection, Iterator
from importlib.machinery import PathFinder
from modulefinder import ModuleFinder
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from segkit.files import FileError, nearby_said, open_regular, shown, what_is_there

LARGEST = 2**24
"""Bytes of a file of code."""
OURS = ("segkit", "segbook")

_loaded: dict[str, ModuleType] = {}
"""By the hash of its code: what was executed once in this process is not executed again."""
_lock = threading.RLock()


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
    files = {main: _content(path)}
    try:
        compile(files[main], str(path), "exec", dont_inherit=True)
        if not _is_installed(path):
            for module in _imported(path, root):
                files.setdefault(module.relative_to(root).as_posix(), _content(module))
    except (SyntaxError, ValueError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(path, f"is no Python: {_reason(error, path)}") from error
    return Code(main, root, files)


def load(name: str) -> ModuleType:
    """Execute the file of a name, once for each content that it has had.

    Raises:
        ValueError: there is none, or it raises; the message says where.
    """
    path, code = path_of(name), read(name)
    key = f"{code.sha256} {code.main}"
    with _lock:
        if key not in _loaded:
            try:
                _loaded[key] = _execute(path, code)
            except (Exception, SystemExit) as error:
                raise FileError(path, f"cannot be executed: {_reason(error, path)}") from error
        return _loaded[key]


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
        parameters = inspect.signature(found).parameters
        takes_all = any("Unpack" in str(each.annotation) for each in parameters.values())
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
    except Exception as error:
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
    places = {sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib")}
    inside = any(path.is_relative_to(place) for place in places)
    return inside or bool({"site-packages", "dist-packages"} & {*path.parts})


def _content(path: Path) -> bytes:
    with open_regular(path, LARGEST) as file:
        return file.read()


def _imported(path: Path, root: Path) -> list[Path]:
    """The files below a folder that a file in it imports, and they in turn."""
    importlib.invalidate_caches()
    finder = ModuleFinder(path=[str(root)], excludes=[*OURS, *sys.stdlib_module_names])
    if path.parent == root:
        finder.run_script(str(path))
    else:
        finder.import_hook(_dotted(path.relative_to(root).as_posix()))
    found = [Path(getattr(each, "__file__", None) or "") for each in finder.modules.values()]
    return sorted(each for each in found if each.suffix == ".py" and each.is_relative_to(root))


def _execute(path: Path, code: Code) -> ModuleType:
    """Import a file; what another folder's files have in the place of its neighbours is put by.

    A module of that name that was there first keeps it afterwards.
    """
    if _is_installed(path):
        return importlib.import_module(_dotted(code.main))
    dotted = {name: _dotted(name) for name in code.files}
    alone = "/" not in code.main
    neighbours = [name for file, name in dotted.items() if not (alone and file == code.main)]
    before = {name: sys.modules.pop(name) for name in neighbours if name in sys.modules}
    importlib.invalidate_caches()
    sys.path.insert(0, str(code.root))
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        if not alone:
            return importlib.import_module(dotted[code.main])
        # A name of its own: random.py beside the data is not Python's.
        name = f"{path.stem.replace('.', '_')}_{code.sha256[:12]}"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # where dataclasses and torch's compiler look for it
        try:
            exec(compile(code.files[code.main], str(path), "exec", dont_inherit=True), vars(module))
        except BaseException:
            del sys.modules[name]
            raise
        return module
    finally:
        sys.dont_write_bytecode = writes
        sys.path.remove(str(code.root))
        if str(code.root) not in sys.path:
            sys.path.append(str(code.root))  # for what a function of it imports later
        sys.modules.update(before)


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
    return f"{type(error).__name__}: {shown(said):.300}{where}"
