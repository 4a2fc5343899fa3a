"""Diagrams say what the network does: real sizes, arrows from the image to the logits."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segbook import figures
from segbook.certificates.diagrams import smallest
from segbook.figures.diagram import Diagram
from segbook.figures.flow import trace
from segkit import create_model

ROOT = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}"
SMALL = ("fcn8s_resnet18", "unet", "segnet", "deeplab_v2_vgg16", "unet_plus_plus", "espnet")


def built(name: str) -> nn.Module:
    with torch.device("meta"):
        return create_model(name, num_classes=11).eval()


def drawn(name: str, size: tuple[int, ...] | None = None) -> Diagram:
    return figures.diagram(built(name), size, name=name)


def results(model: nn.Module, size: tuple[int, ...]) -> dict[nn.Module, set[tuple[int, ...]]]:
    """What each module returns, by hooks of its own."""
    found: dict[nn.Module, set] = {}

    def leaves(value: object) -> Iterator[Tensor]:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            for each in value:
                yield from leaves(each)

    def note(module: nn.Module, _: object, result: object) -> None:
        shapes = {tuple(leaf.shape[1:]) for leaf in leaves(result)}
        found.setdefault(module, set()).update(shapes)

    for module in model.modules():
        module.register_forward_hook(note)
    with torch.no_grad():
        model(torch.zeros(1, 3, *size, device="meta"))
    return found


def check(name: str) -> None:
    size = (128, 128, 128) if name in ("no_new_net", "unet_3d") else (360, 480)
    model = built(name)
    shown = drawn(name, size)
    parts = shown.flow.parts
    assert [part.kind for part in (parts[0], parts[-1])] == ["image", "logits"]
    assert parts[-1].shapes[0].channels == 11
    assert parts[-1].shapes[0].size == size
    assert parts[-1].shapes[0].stride == 1
    returned = results(model, size)
    for part in parts:
        if part.kind == "module":
            real = returned[model.get_submodule(part.path)]
            assert part.shapes
            for shape in part.shapes:
                if shape.size:
                    assert (shape.channels, *shape.size) in real, f"{part.path}: {shape}, {real}"
                else:
                    assert shape.channels in {each[-1] for each in real}, f"{part.path}: {shape}"
    # From the image to the logits: everything comes from the image and leads to the logits.
    reached = {parts[0]}
    for part in parts[1:]:
        assert part.sources
        assert {source for source, _ in part.sources} <= reached
        reached.add(part)
    used = {source for part in parts for source, _ in part.sources}
    assert reached - used == {parts[-1]}
    assert 2 <= sum(part.kind == "module" for part in parts) <= 22
    # Written as it was found: an arrow for each, a title and alternative text, nothing that runs.
    tree = ET.fromstring(shown.svg)
    arrows = next(g for g in tree.iter(f"{SVG}g") if g.get("marker-end"))
    assert len(arrows) == sum(len(part.sources) for part in parts)
    assert tree.get("aria-label") == tree.find(f"{SVG}title").text
    tags = {element.tag.removeprefix(SVG) for element in tree.iter()}
    assert tags <= set("svg title defs marker path rect text tspan g circle".split())
    for rect in tree.iter(f"{SVG}rect"):
        left, wide = float(rect.get("x", 0)), float(rect.get("width"))
        assert 0 <= left
        assert left + wide <= float(tree.get("width"))


@pytest.mark.parametrize("name", SMALL)
def test_small_networks(name):
    check(name)


@pytest.mark.full
@pytest.mark.parametrize("name", sorted(smallest(ROOT) - set(SMALL)))
def test_one_network_of_every_paper(name):
    check(name)


def names(name: str) -> dict[str, list[str]]:
    return {p.name: [s.name for s, _ in p.sources] for p in drawn(name).flow.parts}


def test_the_skips_of_an_fcn_meet_the_scores():
    found = names("fcn8s_resnet18")
    assert found["score_pool4"] == ["layer3"]
    assert found["score_pool3"] == ["layer2"]
    assert set(found["+"]) == {"upscore_pool4", "score_pool3"}
    assert found["logits"] == ["+"]


def test_a_u_net_concatenates_each_level():
    flow = trace(built("unet"))
    joins = [{s.name for s, _ in p.sources} for p in flow.parts if p.kind == "join"]
    assert joins == [{f"up_convs.{i}", f"contract.{3 - i}"} for i in range(4)]
    # Without padding maps shrink at every convolution; that is no stride.
    assert [p.shapes[0].stride for p in flow.parts if "contract" in p.name] == [1, 2, 4, 8, 16]


def test_pp_liteseg_has_its_paper_s_parts():
    found = names("pp_liteseg_t")
    assert found["uafm4"] == ["stage4", "uafm5"]
    assert found["uafm3"] == ["stage3", "uafm4"]
    assert drawn("pp_liteseg_t").flow.idle == ["aux_head4", "aux_head5"]


class Odd(nn.Module):
    """Names and uses that a drawing could trip over."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module('a<b>&"c"\n\x1b]', nn.Conv2d(2, 4, 3, stride=2, padding=1))
        self.twice = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 2, 1)
        self.train(True)

    def forward(self, images: Tensor) -> Tensor:
        x = next(self.children())(images)
        x = x + self.twice(self.twice(x)) + x.new_ones(1)
        return F.interpolate(self.head(x), images.shape[-2:])


def test_kernels_with_holes_are_told_by_their_rates():
    captions = [e.text for e in ET.fromstring(drawn("deeplab_v2_vgg16").svg).iter(f"{SVG}text")]
    assert [text for text in captions if text and text.startswith("rate")] == [
        "rates 1\N{EN DASH}2", "rate 6", "rate 12", "rate 18", "rate 24",
    ]  # fmt: skip
    assert ">rate" not in drawn("unet", (64, 64)).svg


def test_strange_names_and_repeated_calls():
    model = Odd()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    shown = figures.diagram(model, (20, 30), name="</svg><script>")
    assert "<script" not in shown.svg
    tree = ET.fromstring(shown.svg)
    assert any('a<b>&"c"' in (t.text or "") for t in tree.iter(f"{SVG}title"))
    assert [p.name for p in shown.flow.parts].count("twice") == 2
    assert shown.flow.parts[0].shapes[0].channels == 2
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_same_in_every_run_and_short_as_text():
    one, two = drawn("fcn8s_resnet18"), drawn("fcn8s_resnet18")
    assert one.svg == two.svg
    said = "Diagram(fcn8s_resnet18: 12 parts, 17.7 M parameters, strides 1 to 32)"
    assert repr(one) == said
    data, metadata = one._repr_mimebundle_()
    assert data == {"image/svg+xml": one.svg, "text/plain": said}
    assert metadata["image/svg+xml"]["alt"] in said


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="has no convolution"):
        figures.diagram(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"size is \(64,\); this network's images have \(H, W\)"):
        figures.diagram(Odd(), (64,))

    class Peeks(Odd):
        def forward(self, images: Tensor) -> Tensor:
            return images if images.sum().item() > 0 else super().forward(images)

    with pytest.raises(ValueError, match="Peeks does not run on the meta device at"):
        figures.diagram(Peeks())
