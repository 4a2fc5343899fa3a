"""The parts of a built network and how tensors flow between them, found by running it once.

Nothing is computed: the run is on the meta device, where tensors have shapes only. Every operation
is recorded with the modules that it happens in; then operations are drawn together into parts.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

LIMIT = 20
"""Parts up to which modules are opened: more do not fit on a page."""
DEEPEST = 2
"""Modules deeper than this inside the network are never opened."""
DASH = "\N{EN DASH}"
SYMBOLS = {
    "add": "+",
    "cat": "\N{PARALLEL TO}",
    "stack": "\N{PARALLEL TO}",
    "mul": "\N{MULTIPLICATION SIGN}",
}
"""Operations between parts, by the start of their name in ATen; others are a dot."""
RESAMPLING = ("conv", "pool", "upsample", "mean", "pixel_shuffle")
"""Operations that may change a map's stride, by what their name in ATen contains."""
UNRELATED = ("new_", "zeros_like", "ones_like", "empty_like", "full_like")
"""Operations whose result does not depend on the values they are given."""


@dataclass(eq=False)
class Call:
    """One call of a module.

    Attributes:
        path: the module's name in the network, "" for the network itself.
        module: what was called.
        depth: how many calls it happened in.
        children: calls that happened in it, first to last.
        shapes: of what left it: (C, H, W) and stride, without repetition.
    """

    path: str
    module: nn.Module
    depth: int
    children: list[Call] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)

    def is_part(self) -> bool:
        """Whether it may be a part: norms, activations and pooling belong to what precedes them."""
        return any(parameter.ndim > 1 for parameter in self.module.parameters())

    def parts(self) -> Iterator[Call]:
        """Its children that may be parts."""
        return (child for child in self.children if child.is_part())


@dataclass(frozen=True)
class Shape:
    """Of one image's features.

    Attributes:
        channels: C.
        size: (H, W) or (D, H, W); empty where the features lie on no grid, as tokens do.
        stride: pixels of the image per step, a power of two.
    """

    channels: int
    size: tuple[int, ...]
    stride: int


@dataclass(eq=False)
class Operation:
    """One operation on something that comes from the image."""

    name: str
    sources: list[Operation]
    shape: Shape
    calls: tuple[Call, ...]


@dataclass(eq=False)
class Part:
    """A part of the network, an operation between parts, the image or the logits.

    Attributes:
        name: as in the network, a backbone's parts without its name; or an operation's symbol.
        path: the whole name, "" for what is no module.
        kind: ``"image"``, ``"module"``, ``"join"`` or ``"logits"``.
        shapes: of what others take from it, finest first; each once.
        sources: parts it takes from, and which of their shapes.
        modules: what it consists of; several where numbered modules in a row keep shape and
            channels.
    """

    name: str
    path: str
    kind: str
    shapes: list[Shape] = field(default_factory=list)
    sources: list[tuple[Part, Shape]] = field(default_factory=list)
    modules: list[nn.Module] = field(default_factory=list)

    def parameters(self) -> int:
        """How many numbers it learns."""
        found = {p for module in self.modules for p in module.parameters()}
        return sum(p.numel() for p in found)


@dataclass(eq=False)
class Flow:
    """What `trace` finds.

    Attributes:
        parts: in the order in which they work; the image first, the logits last.
        parameters: of the whole network.
        idle: names of the children that do not work in evaluation, such as auxiliary heads.
    """

    parts: list[Part]
    parameters: int
    idle: list[str]


def trace(model: nn.Module, size: Sequence[int] | None = None, *, limit: int = LIMIT) -> Flow:
    """Run a network on the meta device, in evaluation, and return its parts.

    A module is opened, level by level, where its children differ in stride, as those of a backbone,
    a decoder or a pyramid do, and as long as there are no more than `limit` parts.

    Args:
        model: a network; it is not changed. Its first convolution says how many channels an image
            has, and whether it is a volume.
        size: of the image in pixels, (H, W) or (D, H, W); None is 360x480, or 128x128x128.
        limit: parts up to which modules are opened.

    Raises:
        ValueError: no convolution, a size that does not fit, or a network that cannot run without
            looking at values.
    """
    copied = _on_meta(model)
    first = next((m for m in copied.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)), None)
    if first is None:
        raise ValueError(f"{type(model).__name__} has no convolution: what would it do to an image")
    dims = first.weight.ndim - 2
    size = tuple(size or ((360, 480) if dims == 2 else (128, 128, 128)))
    if len(size) != dims or min(size) < 1:
        wanted = "(H, W)" if dims == 2 else "(D, H, W)"
        raise ValueError(f"size is {size}; this network's images have {wanted} pixels")
    image = torch.zeros(1, first.in_channels, *size, device="meta")
    recorder = _Recorder(image)
    handles = recorder.watch(copied)
    try:
        with torch.no_grad(), recorder:
            output = copied(image)
    except (NotImplementedError, RuntimeError) as error:
        raise ValueError(
            f"{type(model).__name__} does not run on the meta device at {size} pixels: {error}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    logits = next(leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor))
    last = recorder.made.get(id(logits))
    if last is None or not last.sources:
        raise ValueError(f"what {type(model).__name__} returns does not depend on the image")
    operations = _leading_to(last, recorder.operations)
    for operation in operations:
        for source in operation.sources:
            for call in source.calls:
                if call not in operation.calls and source.shape not in call.shapes:
                    call.shapes.append(source.shape)
    opened = {recorder.root}
    parts = _contract(operations, opened, last)
    waiting = sorted(recorder.root.parts(), key=_urgency)
    while waiting:
        call = waiting.pop(0)
        if call.depth > DEEPEST or not _worth_opening(call):
            continue
        attempt = _contract(operations, opened | {call}, last)
        if sum(part.kind == "module" for part in attempt) <= limit:
            parts, opened = attempt, opened | {call}
            waiting = sorted([*waiting, *call.parts()], key=_urgency)
    called = {call.path.split(".")[0] for call in recorder.calls if call.path}
    idle = [
        name
        for name, child in copied.named_children()
        if name not in called and any(True for _ in child.parameters())
    ]
    return Flow(parts, sum(p.numel() for p in copied.parameters()), idle)


def _on_meta(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode that has shapes but no values."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.detach().to("meta")
    return copy.deepcopy(model, memo).eval()


class _Recorder(TorchDispatchMode):
    """Notes every operation on what comes from the image, with the calls that are under way."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        start = Operation("image", [], Shape(image.shape[1], tuple(image.shape[2:]), 1), ())
        self.root: Call = Call("", nn.Identity(), 0)
        self.calls: list[Call] = []
        self.stack: list[Call] = []
        self.operations = [start]
        self.made = {id(image): start}
        self.kept: list[Any] = [image]  # so that no id is used twice

    def watch(self, model: nn.Module) -> list[Any]:
        handles = []
        for path, module in model.named_modules():

            def enter(module: nn.Module, _: Any, path: str = path) -> None:
                call = Call(path, module, len(self.stack))
                if self.stack:
                    self.stack[-1].children.append(call)
                else:
                    self.root = call
                self.calls.append(call)
                self.stack.append(call)

            def leave(*_: Any) -> None:
                self.stack.pop()

            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(leave, always_call=True))
        return handles

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [leaf for leaf in tree_leaves((args, kwargs)) if id(leaf) in self.made]
        results = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if given and results and not func.__name__.startswith(UNRELATED):
            sources = [self.made[id(leaf)] for leaf in given]
            shape = _shape(func.__name__, results[0], given, sources)
            operation = Operation(func.__name__, sources, shape, tuple(self.stack))
            self.operations.append(operation)
            for leaf in results:
                self.made[id(leaf)] = operation
            self.kept += results
        return result


def _shape(name: str, result: Tensor, given: list[Tensor], sources: list[Operation]) -> Shape:
    """The result's shape; its stride follows from what it was made of.

    Where maps are resampled the stride grows as they shrink, in powers of two: what padding adds or
    a convolution without padding takes away at the border is no stride.
    """
    like = [s for t, s in zip(given, sources, strict=True) if t.shape[2:] == result.shape[2:]]
    before = like[0] if like else sources[0]
    stride = float(before.shape.stride)
    if result.ndim == given[0].ndim >= 4 and any(part in name for part in RESAMPLING):
        ratio = max(given[0].shape[2:]) / max(result.shape[2:])
        stride = sources[0].shape.stride * 2 ** round(math.log2(ratio))
    elif "scatter" in name:  # unpooling of flattened maps
        ratio = given[0].numel() / result.numel()
        stride = sources[0].shape.stride * 2 ** round(math.log2(ratio) / 2)
    stride = max(1, round(stride))
    if result.ndim < 4:
        return Shape(result.shape[-1] if result.ndim else 1, (), stride)
    return Shape(result.shape[1], tuple(result.shape[2:]), stride)


def _leading_to(last: Operation, operations: list[Operation]) -> list[Operation]:
    """Those that the logits depend on, in order."""
    wanted, waiting = {last}, [last]
    while waiting:
        new = [source for source in waiting.pop().sources if source not in wanted]
        wanted.update(new)
        waiting += new
    return [operation for operation in operations if operation in wanted]


def _urgency(call: Call) -> tuple[int, int]:
    return call.depth, -len({shape.stride for child in call.parts() for shape in child.shapes})


def _worth_opening(call: Call) -> bool:
    """Whether its children differ in their strides."""
    return len({frozenset(shape.stride for shape in child.shapes) for child in call.parts()}) > 1


def _contract(operations: list[Operation], opened: set[Call], last: Operation) -> list[Part]:
    """Draw operations together into the parts that are seen when these calls are opened."""
    parts: dict[Call, Part] = {}
    found: list[Part] = []
    # What gets the image is the backbone or its like: its parts go without its name.
    first = next(operation.calls[1] for operation in operations if len(operation.calls) > 1)
    body = f"{first.path}."
    comes_from: dict[Operation, tuple[Part, Shape]] = {}
    for operation in operations:
        closed = next((call for call in operation.calls if call not in opened), None)
        sources = list(dict.fromkeys(comes_from[source] for source in operation.sources))
        if not operation.sources:
            part = Part("image", "", "image")
        elif closed is not None and closed.is_part():
            name = closed.path.removeprefix(body)
            name = closed.path if name.isdigit() else name
            part = parts.get(closed) or Part(name, closed.path, "module", modules=[closed.module])
            parts[closed] = part
        elif len(sources) > 1:
            part = Part(_symbol(operation.name), "", "join")
        else:  # one part's features in another form
            comes_from[operation] = sources[0]
            continue
        if part not in found:
            found.append(part)
        for source, shape in sources:
            if source is not part:
                _take(part, source, shape)
        comes_from[operation] = part, operation.shape
    logits = Part("logits", "", "logits", [last.shape])
    _take(logits, *comes_from[last])
    found.append(logits)
    _merge_sums(found)
    _merge_rows(found)
    for part in found:
        part.shapes.sort(key=lambda shape: shape.stride)
    return found


def _take(part: Part, source: Part, shape: Shape) -> None:
    if shape not in source.shapes:
        source.shapes.append(shape)
    if (source, shape) not in part.sources:
        part.sources.append((source, shape))


def _symbol(name: str) -> str:
    return next((sign for start, sign in SYMBOLS.items() if name.startswith(start)), "\N{BULLET}")


def _consumers(parts: list[Part], part: Part) -> list[Part]:
    return [other for other in parts if any(source is part for source, _ in other.sources)]


def _merge_sums(parts: list[Part]) -> None:
    """A + b + c is one sum, though it is two additions."""
    for part in list(parts):
        users = _consumers(parts, part)
        if part.kind == "join" and len(users) == 1 and users[0].name == part.name:
            user = users[0]
            kept = [pair for pair in user.sources if pair[0] is not part]
            user.sources = list(dict.fromkeys(part.sources + kept))
            parts.remove(part)


def _merge_rows(parts: list[Part]) -> None:
    """Numbered modules of one list, each fed by the one before, are one part if shapes agree."""
    for part in list(parts):
        sources = part.sources
        before = sources[0][0] if len(sources) == 1 else None
        if before is None or _consumers(parts, before) != [part]:
            continue
        (start, first), (end, number) = (_numbered(p.path) for p in (before, part))
        if not (number and first and start == end) or before.shapes != part.shapes:
            continue
        before.modules += part.modules
        before.name = f"{before.name.partition(DASH)[0]}{DASH}{number}"
        for user in _consumers(parts, part):
            user.sources = [(before if s is part else s, shape) for s, shape in user.sources]
        parts.remove(part)


def _numbered(path: str) -> tuple[str, str]:
    """A name without the number that it ends in, and that number."""
    found = re.fullmatch(r"(.*[._])(\d+)", path)
    return (found[1], found[2]) if found else (path, "")
