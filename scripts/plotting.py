"""What the plotting scripts share: matplotlib without a screen, colours, reading CSV files."""
import csv
import sys

# Okabe and Ito, "Color universal design", 2008, without its yellow, which is faint on white: told apart with every
# kind of colour vision.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000"]
LINES = ["-", "--", ":", "-."]


def subplots(*arguments, **options):
    """Those of matplotlib.pyplot. Only here is matplotlib needed: --help goes without, and so does what ends before."""
    try:
        import matplotlib
    except ImportError:
        sys.exit(f"{sys.executable} has no matplotlib; Debian's python3-matplotlib is for /usr/bin/python3")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt  # after the backend is chosen

    plt.rcParams.update({"font.size": 10, "axes.grid": True, "grid.alpha": 0.3, "axes.spines.top": False,
                         "axes.spines.right": False, "savefig.dpi": 150, "svg.hashsalt": "qstep"})
    return plt.subplots(*arguments, **options)


def style(index):
    """Colour and line of the index-th curve; 28 of them differ."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": LINES[index // len(COLOURS) % len(LINES)]}


def read_csv(path):
    """The columns of a CSV file with a header: name to list of texts. Ends the program where there is no such file."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError) as error:
        sys.exit(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is not text'}")
    if len(rows) < 2 or any(len(row) != len(rows[0]) for row in rows):
        sys.exit(f"{path} is no table with a header and at least one line")
    return {name: [row[i] for row in rows[1:]] for i, name in enumerate(rows[0])}


def numbers(table, column, path):
    """A column as floats; ends the program where it is missing or holds something else."""
    try:
        return [float(text) for text in table[column]]
    except KeyError:
        sys.exit(f"{path} has no column '{column}'")
    except ValueError:
        sys.exit(f"{path} holds something else than numbers in its column '{column}'")


def save(figure, path):
    """Writes the figure; the file's name says in which format."""
    try:
        figure.savefig(path, bbox_inches="tight")
    except (OSError, ValueError) as error:
        sys.exit(f"cannot write {path}: {getattr(error, 'strerror', None) or error}")
    print(f"written: {path}")
