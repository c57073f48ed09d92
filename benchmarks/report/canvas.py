"""The figure that every plot starts from: dark as the page, legible on a phone."""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

WIDTH_PX, HEIGHT_PX, DPI = 960, 720, 160
"""At 360 px of a phone 14 points are 11.7 px high."""
CARD, INK, DIM, GRID = "#1b2029", "#e8ebf0", "#96a0b0", "#343c49"
OURS, OTHER, THIRD, MARK = "#f0a52c", "#56b4e9", "#cc79a7", "#f0e442"
"""After Okabe and Ito: apart for every kind of colour blindness, on dark."""
FONT, SMALL = 14.0, 12.5


def new_axes(title: str, across: str, up: str) -> Axes:
    """Return the axes of a new figure; ``title`` is text, of which $ is no mathematics."""
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    figure = Figure(figsize=(WIDTH_PX / DPI, HEIGHT_PX / DPI), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    figure.set_facecolor(CARD)
    axes = figure.add_subplot(facecolor=CARD)
    axes.set_title(title, color=INK, fontsize=FONT, loc="left", parse_math=False)
    axes.set_xlabel(across, color=DIM, fontsize=FONT)
    axes.set_ylabel(up, color=DIM, fontsize=FONT)
    axes.tick_params(colors=DIM, labelsize=SMALL)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(GRID)
    return axes


def add_legend(axes: Axes, columns: int = 1) -> None:
    """Put the legend beneath the axes, where it hides nothing."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    legend = figure.legend(
        loc="outside lower center", ncols=columns, fontsize=SMALL, frameon=False, labelcolor=INK
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def png(axes: Axes) -> bytes:
    """Return the figure of the axes as PNG, WIDTH_PX x HEIGHT_PX."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    return data.getvalue()
