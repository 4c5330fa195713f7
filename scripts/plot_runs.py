#!/usr/bin/env python3
"""Draws test accuracy over epochs for any set of run folders of cifar_train, also of different lengths."""
import argparse
import json
import os
import sys

from plotting import numbers, read_csv, save, style, subplots

# Say nothing about what a run computes.
LEFT_OUT = {"output", "log-interval", "save-every", "save-model", "max-steps", "threads", "device", "data"}
# The codecs that take an option, or (levels) do not; `none` takes none of a codec's options.
TAKEN_BY = {"solver": {"smart"}, "smart-candidates": {"smart"}, "points": {"standard"}, "qsgd-norm": {"qsgd"},
            "fixed-il": {"fixed"}, "fixed-fl": {"fixed"}}
WITHOUT_LEVELS = {"terngrad", "sign", "natural", "fixed"}
OF_ANY_CODEC = {"levels", "bucket-size", "rounding", "error-feedback", "ef-alpha", "ef-beta"}


def takes(options, name):
    """Whether the option says something about the run's codec, if it is a codec's."""
    codec = options.get("quant")
    if name in TAKEN_BY:
        if name == "smart-candidates" and options.get("solver", "sample") != "sample":
            return False
        return codec in TAKEN_BY[name]
    if name.startswith("ef-"):
        return bool(options.get("error-feedback"))
    return name not in OF_ANY_CODEC or codec != "none" and (name != "levels" or codec not in WITHOUT_LEVELS)


def metrics_of(folder):
    return os.path.join(folder, "metrics.csv")


def read_run(folder):
    """Configuration and columns of one run folder."""
    metrics = metrics_of(folder)
    table = read_csv(metrics)
    run = {"folder": os.path.normpath(folder), "options": {}}
    for column in ("epoch", "test_accuracy", "test_loss"):
        run[column] = numbers(table, column, metrics)
    try:
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            run["options"] = json.load(file)["options"]
    except (OSError, ValueError, KeyError, TypeError):
        print(f"{folder} has no readable config.json; its curve is called by its folder", file=sys.stderr)
    return run


def shown(option, value):
    """One option in a label: the codec by its name alone, a switch that is off not at all."""
    if option == "quant":
        return "no quantization" if value == "none" else value
    if isinstance(value, bool):
        return option if value else f"no {option}"
    return f"{option} {','.join(map(str, value)) if isinstance(value, list) else value}"


def labels(runs):
    """What tells the runs apart: the options in which they differ; their folders where that is not enough."""
    options = []
    for run in runs:
        options += [name for name in run["options"] if name not in LEFT_OUT | {"optimizer"} and name not in options]
    differing = [name for name in options
                 if len({str(run["options"].get(name)) for run in runs if takes(run["options"], name)}) > 1]
    texts = [", ".join(shown(name, run["options"][name]) for name in differing
                       if name in run["options"] and takes(run["options"], name)) for run in runs]
    return [text if text and texts.count(text) == 1 else ", ".join(filter(None, [text, run["folder"]]))
            for run, text in zip(runs, texts)]


def draw(axes, runs, texts, column):
    for i, (run, text) in enumerate(zip(runs, texts)):
        # A curve of few points shows where they are; of one point there would be nothing else to see.
        marker = "o" if len(run["epoch"]) <= 20 else None
        axes.plot(run["epoch"], run[column], label=text, marker=marker, markersize=4, linewidth=1.5, **style(i))
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="folder with a metrics.csv and a config.json")
    parser.add_argument("--output", default="runs.png", metavar="FILE", help="PNG, SVG or PDF [runs.png]")
    parser.add_argument("--loss", action="store_true", help="draw the test loss too, in a second plot below")
    arguments = parser.parse_args()
    early = [folder for folder in arguments.folders if not os.path.isfile(metrics_of(folder))]
    if len(early) == len(arguments.folders):
        sys.exit(f"no finished epoch, which is what a metrics.csv is there for, in {', '.join(early)}")
    for folder in early:
        print(f"left out: {folder} has no metrics.csv, so no finished epoch", file=sys.stderr)
    runs = [read_run(folder) for folder in arguments.folders if folder not in early]
    texts = [f"{text}  ({run['test_accuracy'][-1]:.2f} %)" for run, text in zip(runs, labels(runs))]
    rows = 2 if arguments.loss else 1
    figure, axes = subplots(rows, 1, figsize=(7, 4.2 * rows), squeeze=False, sharex=True)
    draw(axes[0][0], runs, texts, "test_accuracy")
    axes[0][0].set_ylabel("test accuracy (%)")
    # Beside the plot, where no curve can run under it.
    axes[0][0].legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, title="run  (after its last epoch)",
                      alignment="left")
    if arguments.loss:
        draw(axes[1][0], runs, texts, "test_loss")
        axes[0][0].set_xlabel("")
        axes[1][0].set_ylabel("test loss (mean cross-entropy, nats)")
    save(figure, arguments.output)


if __name__ == "__main__":
    main()
