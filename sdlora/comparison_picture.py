"""A comparison of two adapters as a picture: each block's norms beside each other, and how much they agree."""

from pathlib import Path

from .adapters.algebra import Comparison
from .files import write_atomically

COLOURS = ("#3b6fb6", "#d1793b", "#4b4b4b")


def draw(comparison: Comparison, path: Path) -> Path:
    """Write a PNG: for each block ‖ΔW‖ of both adapters, and their cosine, from −1 to 1."""
    from matplotlib.figure import Figure  # slow to import, and the numbers need none of it

    blocks = list(comparison.blocks)[::-1]
    places = range(len(blocks))
    figure = Figure(figsize=(9, 1.6 + 0.34 * len(blocks)), layout="constrained")
    norms, cosines = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for shift, side, name in ((0.2, "norm_a", comparison.a), (-0.2, "norm_b", comparison.b)):
        values = [getattr(comparison.blocks[block], side) for block in blocks]
        norms.barh([p + shift for p in places], values, 0.38, label=name, color=COLOURS[shift < 0])
    norms.set_yticks(places, [block.removeprefix("unet.") for block in blocks])
    norms.set_xlabel("norm of the change, ‖ΔW‖")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    cosines.barh(places, [comparison.blocks[block].cosine for block in blocks], 0.6, color=COLOURS[2])
    cosines.axvline(0, color="black", linewidth=0.8)
    cosines.set_xlim(-1, 1)
    cosines.set_xlabel(f"cosine, in all {comparison.total.cosine:.3f}")
    write_atomically(path, lambda target: figure.savefig(target, format="png", dpi=120))
    return path
