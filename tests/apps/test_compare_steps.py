"""What scripts/gpu_compare_steps.py lets pass. Needs Python alone.

    test_compare_steps.py GPU_COMPARE_STEPS.PY
"""
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

SCRIPT = sys.argv.pop()
STEP = {"logits": [1.0, -2.0], "loss": [0.5], "grad.a": [1.0, 2.0, 3.0], "grad.b": [1.0, -1.0, 1.0]}


def times(factor, step=STEP, but=()):
    """The step, or all but some of its tensors, with each number so many times as large."""
    return {name: [factor * x for x in values] for name, values in step.items() if name not in but}


class Steps(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, name, step):
        header, data = {}, b""
        for key, values in step.items():
            packed = struct.pack(f"<{len(values)}f", *values)
            header[key] = {"dtype": "F32", "shape": [len(values)], "data_offsets": [len(data), len(data) + len(packed)]}
            data += packed
        text = json.dumps(header).encode()
        path = self.folder / name
        path.write_bytes(struct.pack("<Q", len(text)) + text + data)
        return str(path)

    def compare(self, *steps, options=()):
        """Exit status, and what was printed."""
        files = [self.write(str(i), step) for i, step in enumerate(steps)]
        done = subprocess.run([sys.executable, SCRIPT, *options, *files], capture_output=True, text=True)
        self.assertEqual(done.stderr, "")
        return done.returncode, done.stdout

    def test_fp32(self):
        self.assertEqual(self.compare(STEP, STEP)[0], 0)
        for name, factor in (("logits", 1.001), ("loss", 1.0001), ("grad.a", 1.1), ("grad.b", float("nan"))):
            changed = {**STEP, name: [factor * x for x in STEP[name]]}
            status, output = self.compare(changed, STEP)
            self.assertEqual(status, 1, name)
            self.assertIn(f"{name}: ", output)
        self.assertEqual(self.compare(times(1, but=["grad.b"]), STEP)[0], 1)

    def test_other_precisions_are_measured_by_the_stray_of_bf16(self):
        for precision, near, far in (("bf16", 1.2, 1.23), ("tf32", 1.07, 1.08)):
            options = ["--precision", precision]
            self.assertEqual(self.compare(times(near), STEP, times(1.1), options=options)[0], 0, precision)
            status, output = self.compare(times(far), STEP, times(1.1), options=options)
            self.assertEqual(status, 1, precision)
            self.assertIn("grad.a: ", output)

    def test_a_yardstick_that_is_infinite_measures_nothing(self):
        wrong = {**STEP, "grad.b": [1.001, -1.0, 1.0]}
        for bf16 in (times(1.1, but=["grad.b"]), {**times(1.1), "grad.b": [float("inf")] * 3}):
            status, output = self.compare(wrong, STEP, bf16, options=["--precision", "bf16"])
            self.assertEqual(status, 1)
            self.assertIn("grad.b: the CPU's bf16 step has none that is finite", output)

    def test_exact(self):
        self.assertEqual(self.compare(STEP, STEP, options=["--exact"])[0], 0)
        self.assertEqual(self.compare(times(1, but=["loss"]), STEP, options=["--exact"])[0], 1)
        self.assertEqual(self.compare({**STEP, "loss": [0.50000006]}, STEP, options=["--exact"])[0], 1)


if __name__ == "__main__":
    unittest.main()
