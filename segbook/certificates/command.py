"""``segbook certify``."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="Every network of the catalogue.")
@click.option("--check", is_flag=True, help="Write nothing; say whether what is written holds.")
@click.option(
    "--data-root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="CamVid's folder: also overfit two of its images, in a minute or so a network.",
)
@click.option("--no-parity", is_flag=True, help="Keep the parity that was measured before.")
def certify(
    names: tuple[str, ...],
    everything: bool,
    check: bool,
    data_root: Path | None,
    no_parity: bool,
) -> None:
    """Measure networks and write docs/certificates/NAME.json, docs/diagrams/NAME.svg, MODELS.md.

    Parameters, operations, memory and shapes are measured at once; parity where the package to
    compare with is installed (pip install 'segbook[parity]'), else it is kept from before.

    Exit code 1 where a certificate is not green.
    """
    import torch
    from tqdm import tqdm

    from segbook.certificates import diagrams
    from segbook.certificates.certify import certify as measure
    from segbook.certificates.certify import checkout, complaints, read, write
    from segbook.certificates.models_md import render
    from segbook.certificates.parity import load_pairs
    from segkit.catalog import MODELS, model_card

    torch.set_num_threads(1)
    root = checkout()
    if everything == bool(names):
        raise click.UsageError("name networks, or give --all")
    for name in names:
        model_card(name)  # an unknown name says which are close
    pairs = load_pairs(root / "tests" / "parity")
    red = 0
    for name in tqdm(names or tuple(MODELS), unit="network", disable=not sys.stderr.isatty()):
        own = [pair for pair in pairs if pair.name == name]
        certificate = read(name, root)
        if not check:
            certificate = measure(
                name, before=certificate, pairs=own, camvid=data_root, keep_parity=no_parity
            )
            write(certificate, root)
        found = complaints(certificate, own)
        if name in diagrams.smallest(root):
            if not check:
                diagrams.write(name, root)
            elif not diagrams.is_current(name, root):
                found.append(f"its diagram is of other code: segbook certify {name} draws it")
        red += bool(found)
        tqdm.write(f"{name:<32}{'; '.join(found) or 'green'}")
    path = root / "MODELS.md"
    if not check:
        path.write_text(render(root), encoding="utf-8")
    elif not path.is_file() or path.read_text(encoding="utf-8") != render(root):
        red += 1
        tqdm.write("MODELS.md is not what the certificates say: segbook certify --all writes it")
    if red:
        sys.exit(1)


@click.command("import-weights")
@click.argument("name")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--camvid", type=click.Path(path_type=Path), help="The CamVid folder: measure too.")
def import_weights(name: str, source: Path, out: Path, camvid: Path | None) -> None:
    """Turn published weights NAME, the authors' file SOURCE, into OUT (.safetensors).

    The file is read without running what may be in it. NAME is espnet_camvid.
    """
    from segbook.certificates import published

    path = published.import_weights(name, source, out)
    click.echo(f"wrote {path}")
    if camvid is not None:
        click.echo(published.compare(path, published.evaluate_published(path, camvid)))
