"""Trained models on their way to PyTorch and ONNX and back, against what cifar_train makes of them itself.

cifar_train prints mean losses, no logits. But of a test set with one image and label k the loss is logsumexp(logits) -
logit k: ten such sets give the logits, up to what softmax does not see. Environment: CIFAR_TRAIN, the program; SCRIPTS,
the folder of the scripts.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

try:
    import numpy as np
except ImportError:
    raise unittest.SkipTest("there is no numpy") from None

SCRIPTS = pathlib.Path(os.environ["SCRIPTS"])
MODELS = ("simple", "resnet_20", "alexnet")
# Losses are printed with four decimals; the last of two such numbers is off by half a unit each, and float32 adds a
# few 1e-6.
LOSS_TOLERANCE = 1.1e-4
# Of logits of about 1: two float32 sums of the same products, in other orders. Seen: 2e-7.
LOGIT_TOLERANCE = 1e-5


def write_cifar(folder, images, labels, per_file):
    """Five training files of the first images, the rest as the test file."""
    folder.mkdir()
    records = np.concatenate([labels[:, None], images.reshape(len(images), -1)], axis=1).astype(np.uint8)
    for i in range(5):
        records[i * per_file : (i + 1) * per_file].tofile(folder / f"data_batch_{i + 1}.bin")
    records[5 * per_file :].tofile(folder / "test_batch.bin")


def normalised(images):
    mean, std = np.array([[.4914, .4822, .4465], [.2023, .1994, .2010]], np.float32).reshape(2, 1, 3, 1, 1)
    return ((images.astype(np.float32) / np.float32(255)) - mean) / std


def losses(logits):
    """-log softmax."""
    logits = logits.astype(np.float64)
    return np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits


class Run(unittest.TestCase):
    """A folder with one trained model of each kind."""

    @classmethod
    def setUpClass(cls):
        holder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(holder.cleanup)
        cls.folder = pathlib.Path(holder.name)
        random = np.random.default_rng(2)
        cls.labels = random.integers(0, 10, 60)
        cls.images = 20 * cls.labels[:, None, None, None] + random.integers(0, 56, (60, 3, 32, 32))
        write_cifar(cls.folder / "cifar", cls.images, cls.labels, 8)
        for label in range(10):
            write_cifar(cls.folder / f"label_{label}", np.repeat(cls.images[-1:], 6, 0), np.full(6, label), 1)
        for model in MODELS:
            cls.train("--model", model, "--max-steps", "3", "--output", model)

    @classmethod
    def train(cls, *options):
        """Trains and returns what was printed."""
        if "--resume" not in options:
            options += ("--data", "cifar", "--quant", "standard", "--batch-size", "16", "--lr", "0.01")
        return cls.run_program(os.environ["CIFAR_TRAIN"], *options, "--device", "cpu", "--threads", "2").stdout

    @classmethod
    def run_program(cls, *command, fails=False, **environment):
        result = subprocess.run(command, cwd=cls.folder, capture_output=True, text=True, check=False,
                                env={**os.environ, **environment})
        assert (result.returncode != 0) == fails, f"{command}: {result.returncode}\n{result.stderr}"
        return result

    @classmethod
    def script(cls, name, *arguments, **options):
        return cls.run_program(sys.executable, str(SCRIPTS / name), *arguments, **options)

    def evaluate(self, file, data="cifar"):
        """(loss, accuracy) that cifar_train finds."""
        printed = self.run_program(os.environ["CIFAR_TRAIN"], "--eval", file, "--data", data, "--device", "cpu").stdout
        return tuple(map(float, re.search(r"test loss ([0-9.]+), test accuracy ([0-9.]+) %", printed).groups()))

    def checkpoint(self, model):
        return f"{model}/checkpoint.safetensors"

    def assert_program_agrees(self, model, logits):
        """logits: what something else makes of the last image."""
        # Of the model that takes long to load, the lowest logit, the highest and one between them.
        labels = np.argsort(logits)[[0, 5, 9] if model == "alexnet" else slice(None)]
        of_program = [self.evaluate(self.checkpoint(model), f"label_{label}")[0] for label in labels]
        np.testing.assert_allclose(of_program, losses(logits)[labels], rtol=0, atol=LOSS_TOLERANCE, err_msg=model)
        self.assertGreater(np.ptp(of_program), 100 * LOSS_TOLERANCE)

    def refuse(self, part, script, *arguments, **environment):
        """One sentence that holds `part`, and no new file."""
        before = sorted(self.folder.rglob("*"))
        result = self.script(script, *arguments, fails=True, **environment)
        self.assertIn(part, result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        self.assertEqual(sorted(self.folder.rglob("*")), before)


class PyTorch(Run):
    @classmethod
    def setUpClass(cls):
        try:
            import torch
        except ImportError:
            raise unittest.SkipTest("there is no torch") from None
        super().setUpClass()
        cls.torch = torch
        sys.path.insert(0, str(SCRIPTS.parent / "tests" / "golden"))
        from models import make_model
        cls.make_model = staticmethod(make_model)
        for model in MODELS:
            cls.script("convert_pytorch.py", "to-pytorch", f"{model}/checkpoint.safetensors", f"{model}.pt")

    def module(self, model):
        module = self.make_model(model).eval()
        module.load_state_dict(self.torch.load(self.folder / f"{model}.pt"), strict=True)
        return module

    def test_modules_load_it_and_give_the_same_logits(self):
        for model in MODELS:
            with self.torch.no_grad():
                logits = self.module(model)(self.torch.from_numpy(normalised(self.images[-1:]))).numpy()
            self.assert_program_agrees(model, logits[0])

    def test_it_comes_back(self):
        for model in MODELS:
            self.script("convert_pytorch.py", "from-pytorch", f"{model}.pt", f"{model}.back")
            self.assertEqual(self.evaluate(f"{model}.back"), self.evaluate(self.checkpoint(model)))

    def test_a_module_of_pytorchs_own_goes_in(self):
        self.torch.manual_seed(3)
        module = self.make_model("resnet_8")
        module(self.torch.randn(16, 3, 32, 32))  # running statistics that are not those of the start
        module = module.eval().double()
        self.torch.save(module.state_dict(), self.folder / "own.pt")
        self.script("convert_pytorch.py", "from-pytorch", "own.pt", "own.safetensors")
        with self.torch.no_grad():
            logits = module(self.torch.from_numpy(normalised(self.images[40:])).double())
        expected = self.torch.nn.functional.cross_entropy(logits, self.torch.from_numpy(self.labels[40:]))
        loss, accuracy = self.evaluate("own.safetensors")
        self.assertAlmostEqual(loss, float(expected), delta=LOSS_TOLERANCE)
        right = (logits.argmax(1).numpy() == self.labels[40:]).mean()
        self.assertAlmostEqual(accuracy, 100 * right, delta=0.01)

    def test_a_run_goes_on_as_if_it_had_never_left(self):
        (self.folder / "back").mkdir()
        self.script("convert_pytorch.py", "from-pytorch", "resnet_20.pt", "back/checkpoint.safetensors", "--like",
                    self.checkpoint("resnet_20"))
        original = (self.folder / self.checkpoint("resnet_20")).read_bytes()
        self.assertTrue((self.folder / "back/checkpoint.safetensors").read_bytes() == original)
        self.assertIn("step", self.train("--resume", "back/checkpoint.safetensors", "--max-steps", "4"))

    def test_refuses(self):
        script, torch = "convert_pytorch.py", self.torch
        torch.save({"a": torch.zeros(3)}, self.folder / "other.pt")
        torch.save([1, 2], self.folder / "list.pt")
        state = torch.load(self.folder / "simple.pt")
        torch.save({**state, "more": torch.zeros(1)}, self.folder / "more.pt")
        torch.save({**state, "fc1.bias": torch.zeros(7)}, self.folder / "shape.pt")
        torch.save({**state, "fc1.bias": torch.zeros(120, dtype=torch.int64)}, self.folder / "type.pt")
        torch.save({key: value for key, value in state.items() if key != "fc2.bias"}, self.folder / "less.pt")
        (self.folder / "text.pt").write_text("nothing")
        for file, part in (("other.pt", "the names of none of the models"), ("list.pt", "something else than a state dict"),
                           ("more.pt", "has the tensor 'more', which simple does not know"),
                           ("shape.pt", "'fc1.bias' as [7]; simple needs [120]"), ("type.pt", "no floating-point type"),
                           ("less.pt", "no tensor 'fc2.bias'"), ("text.pt", "no file of torch.save"),
                           ("absent.pt", "cannot read absent.pt: No such file")):  # fmt: skip
            self.refuse(part, script, "from-pytorch", file, "new.safetensors")
        self.refuse("resnet_20, simple.pt of simple", script, "from-pytorch", "simple.pt", "new.safetensors", "--like",
                    self.checkpoint("resnet_20"))
        self.refuse("would replace the input", script, "from-pytorch", "simple.pt", self.checkpoint("simple"), "--like",
                    self.checkpoint("simple"))
        self.refuse("cannot write", script, "to-pytorch", self.checkpoint("simple"), "absent/simple.pt")


class Onnx(Run):
    @classmethod
    def setUpClass(cls):
        try:
            import onnxruntime
        except ImportError:
            raise unittest.SkipTest("there is no onnxruntime") from None
        super().setUpClass()
        cls.sessions = {}
        for model in MODELS:
            cls.script("export_onnx.py", f"{model}/checkpoint.safetensors", f"{model}.onnx")
            cls.sessions[model] = onnxruntime.InferenceSession(str(cls.folder / f"{model}.onnx"),
                                                               providers=["CPUExecutionProvider"])

    def logits(self, model, images):
        return self.sessions[model].run(["logits"], {"images": normalised(images)})[0]

    def test_it_runs_to_the_same_logits(self):
        for model in MODELS:
            self.assert_program_agrees(model, self.logits(model, self.images[-1:])[0])

    def test_it_takes_any_batch(self):
        for model in MODELS:
            whole = self.logits(model, self.images)
            self.assertEqual(whole.shape, (60, 10))
            for i in range(3):
                np.testing.assert_allclose(self.logits(model, self.images[i : i + 1])[0], whole[i], rtol=0,
                                           atol=LOGIT_TOLERANCE)

    def test_it_says_where_it_comes_from(self):
        properties = self.sessions["resnet_20"].get_modelmeta().custom_metadata_map
        self.assertEqual((properties["model"], properties["step"]), ("resnet_20", "3"))
        self.assertEqual(properties["std"], "0.2023 0.1994 0.2010")


class Scripts(Run):
    def test_without_torch_there_is_a_sentence(self):
        (self.folder / "empty").mkdir()
        for name in ("torch", "numpy"):
            text = f"raise ModuleNotFoundError(\"No module named '{name}'\", name='{name}')\n"
            (self.folder / "empty" / f"{name}.py").write_text(text)
        missing = {"PYTHONPATH": str(self.folder / "empty")}
        self.refuse("is missing: apt-get install python3-torch", "convert_pytorch.py", "to-pytorch", "a", "b", **missing)
        self.refuse("numpy is missing: apt-get install python3-numpy", "export_onnx.py", "a", "b", **missing)

    def test_readers_of_dumps_name_the_file(self):
        sys.path.insert(0, str(SCRIPTS.parent / "tests" / "golden"))
        import safetensors_io

        checkpoint = (self.folder / self.checkpoint("simple")).read_bytes()
        self.assertIn("conv1.weight", safetensors_io.read(self.folder / self.checkpoint("simple"))[0])
        np.save(self.folder / "array.npy", np.zeros(3, np.float32))
        (self.folder / "cut").write_bytes(checkpoint[:-1])
        (self.folder / "byte").write_bytes(b"x")
        for other in ("array.npy", "cut", "byte"):
            with self.assertRaisesRegex(ValueError, f"{other} is not a whole safetensors file"):
                safetensors_io.read(self.folder / other)

    def test_refuses_what_is_no_model(self):
        content = (self.folder / self.checkpoint("simple")).read_bytes()
        (self.folder / "short").write_bytes(content[:-1])
        (self.folder / "text").write_text("nothing of the kind")
        (self.folder / "tiny").write_bytes(b"x")
        (self.folder / "stranger").write_bytes(content.replace(b"qstep checkpoint", b"qstep something!", 1))
        (self.folder / "renamed").write_bytes(content.replace(b'"fc3.bias"', b'"fc3.bibs"', 1))
        (self.folder / "future").write_bytes(content.replace(b'"model":"simple"', b'"model":"alexne"', 1))
        for file, part in (("text", "no safetensors file"), ("tiny", "no safetensors file"), ("short", "no safetensors"),
                           ("stranger", "no checkpoint or model file"), ("renamed", "no tensor 'fc3.bias'"),
                           ("future", "there is no model 'alexne'"), ("absent", "cannot read absent"),
                           ("cifar", "cannot read cifar")):  # fmt: skip
            self.refuse(part, "export_onnx.py", file, "new.onnx")
        self.refuse("cannot write", "export_onnx.py", self.checkpoint("simple"), "absent/new.onnx")
        self.refuse("would replace the input", "export_onnx.py", self.checkpoint("simple"), self.checkpoint("simple"))
