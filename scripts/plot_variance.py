#!/usr/bin/env python3
"""Draws what gradient_variance wrote into FOLDER: variance over the steps, and its average for each codec."""
import argparse
import os
import statistics

from plotting import COLOURS, numbers, read_csv, save, style, subplots

UNIT = r"variance $\Sigma\,(x-\ell)(r-x)$ added to the gradient"
WINDOW = 10  # steps of the running mean


def running_mean(values):
    """Of each value and those before it, WINDOW in all or as many as there are."""
    return [statistics.fmean(values[max(0, i + 1 - WINDOW):i + 1]) for i in range(len(values))]


def per_step(folder):
    """A curve for each codec, and the squared norm of the gradient for comparison: faint the steps themselves, strong
    their running mean."""
    path = os.path.join(folder, "variance.csv")
    table = read_csv(path)
    steps = numbers(table, "step", path)
    columns = [name for name in table if name not in ("step", "loss", "squared_norm")]
    columns.sort(key=lambda name: -statistics.fmean(numbers(table, name, path)))
    figure, axes = subplots(figsize=(8, 5))
    squared_norm = running_mean(numbers(table, "squared_norm", path))
    axes.plot(steps, squared_norm, color="0.7", linewidth=4, label="|g|², the gradient itself")
    for i, name in enumerate(columns):
        values = numbers(table, name, path)
        axes.plot(steps, values, linewidth=0.6, alpha=0.25, color=style(i)["color"])
        axes.plot(steps, running_mean(values), linewidth=1.8, label=name, **style(i))
    axes.set_yscale("log")
    axes.set_xlabel("training step")
    axes.set_ylabel(UNIT)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, title=f"mean of {WINDOW} steps\n(faint: each step)",
                alignment="left")
    return figure


def averages(folder):
    """A dot for each codec on a logarithmic axis, beside what is published for it."""
    path = os.path.join(folder, "averages.csv")
    table = read_csv(path)
    means = numbers(table, "mean_variance", path)
    order = sorted(range(len(means)), key=lambda i: means[i])
    figure, axes = subplots(figsize=(8, 1.2 + 0.5 * len(means)))
    for place, i in enumerate(order):
        axes.plot(means[i], place, "o", color=COLOURS[0], markersize=8, label="measured here" if place == 0 else None)
        axes.annotate(f"{means[i]:.3g}", (means[i], place), xytext=(0, 7), textcoords="offset points", ha="center",
                      fontsize=8, color=COLOURS[0])
    known = [(place, float(table["published"][i])) for place, i in enumerate(order) if table["published"][i]]
    if known:
        axes.plot([value for _, value in known], [place for place, _ in known], "D", color=COLOURS[1],
                  markerfacecolor="none", markersize=7, label="published")
    for place, value in known:
        axes.annotate(f"{value:.3g}", (value, place), xytext=(0, -14), textcoords="offset points", ha="center",
                      fontsize=8, color=COLOURS[1])
    axes.set_yticks(range(len(order)), [table["codec"][i] for i in order])
    axes.set_ylim(-0.6, len(order) - 0.2)
    axes.set_xscale("log")
    axes.set_xlabel(UNIT + ", mean over the steps")
    axes.legend(loc="lower right")
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", metavar="FOLDER", help="the --output of gradient_variance")
    parser.add_argument("--format", choices=("png", "svg", "pdf"), default="png", help="of the two files [png]")
    arguments = parser.parse_args()
    for name, draw in (("variance_per_step", per_step), ("average_variance", averages)):
        save(draw(arguments.folder), os.path.join(arguments.folder, f"{name}.{arguments.format}"))


if __name__ == "__main__":
    main()
