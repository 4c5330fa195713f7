"""The Python module against the program `quantize`, and what it refuses. Environment: QSTEP_LIBRARY, the library of the
build; QUANTIZE, the program; PYTHONPATH with bindings/python."""
import copy
import multiprocessing
import os
import pathlib
import pickle
import subprocess
import tempfile
import threading
import unittest

try:
    import numpy as np
except ImportError:
    raise unittest.SkipTest("there is no numpy") from None

import qstep


def noise(*shape, seed=1):
    return np.random.default_rng(seed).normal(0, 1e-3, shape).astype(np.float32)


def bits(array):
    return np.ascontiguousarray(array).view(np.uint32)


def status_of_forked(work):
    """How a process that os.fork() makes ends after work(). One that hangs is ended."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(60)  # far more than it can take
    if process.exitcode is None:
        process.kill()
        process.join()
    return process.exitcode


class Module(unittest.TestCase):
    def assert_bits(self, a, b):
        self.assertEqual(a.dtype, np.float32)
        self.assertEqual(a.shape, b.shape)
        np.testing.assert_array_equal(bits(a), bits(b))

    def program(self, array, *options):
        """What the program makes of the array: values, and the stream where it makes one."""
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            np.save(folder / "in.npy", array)
            command = [os.environ["QUANTIZE"], "in.npy", "out.npy", *options]
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
            stream = folder / "stream"
            return np.load(folder / "out.npy"), stream.read_bytes() if stream.exists() else None

    def test_every_codec_gives_the_bits_of_the_program(self):
        array = noise(7, 3, 31)
        for name in qstep.codecs():
            with self.subTest(name):
                expected, stream = self.program(array, "--quant", name, "--bucket-size", "100", "--seed", "5",
                                                "--device", "cpu", "--codes", "stream")
                codec = qstep.Codec(name, bucket_size=100, seed=5)
                self.assert_bits(codec.quantize(array), expected)
                self.assertEqual(codec.encode(array), stream)
                self.assert_bits(qstep.decode(stream), expected.reshape(-1))
        self.assertIn("standard", qstep.codecs())

    def test_options_have_the_programs_names(self):
        array = noise(5000)
        expected, stream = self.program(
            array, "--quant", "smart", "--levels", "8", "--solver", "histogram", "--rounding", "nearest",
            "--device", "cpu", "--codes", "stream", "--entropy-coding")  # fmt: skip
        codec = qstep.Codec("smart", levels=8, solver="histogram", rounding="nearest", entropy_coding=True, threads=2)
        self.assert_bits(codec.quantize(array), expected)
        self.assertEqual(codec.encode(array), stream)
        self.assertEqual(repr(qstep.Codec("qsgd", qsgd_norm="max")), "qstep.Codec('qsgd', qsgd_norm='max')")

    def test_error_feedback_goes_through_the_steps_of_the_program(self):
        steps = noise(4, 600)
        expected, _ = self.program(steps, "--quant", "standard", "--levels", "4", "--error-feedback",
                                   "--steps-along-first-axis", "--device", "cpu")
        codec = qstep.Codec("standard", levels=4, error_feedback=True)
        residual, other = np.zeros(600, np.float32), np.zeros(600, np.float32)
        for step, gradient in enumerate(steps):
            self.assert_bits(codec.quantize(gradient, step, residual=residual), expected[step])
            stream = codec.encode(gradient, step, residual=other)
            self.assert_bits(qstep.decode(stream), expected[step])
            self.assert_bits(residual, other)
        self.assertGreater(np.abs(residual).max(), 0)

    def test_variance(self):
        array = noise(512)
        values, variance = qstep.Codec("dorefa", levels=4).quantize(array, return_variance=True)
        # Four values from -m to m; the neighbours of x are floor and ceil on that grid.
        most = float(np.abs(array).max())
        place = (array.astype(np.float64) + most) / (2 * most / 3)
        left, right = np.floor(place), np.ceil(place)
        expected = ((place - left) * (right - place)).sum() * (2 * most / 3) ** 2
        # The codec finds an element's place in float32: 2^-24 of a place of up to 3, on variances of up to 1/4.
        self.assertAlmostEqual(variance / expected, 1, delta=1e-5)
        self.assertEqual(len(np.unique(values)), 4)
        stream, same = qstep.Codec("dorefa", levels=4).encode(array, return_variance=True)
        self.assertEqual(same, variance)

    def test_arrays_of_any_strides_and_places(self):
        codec = qstep.Codec("standard", levels=4, bucket_size=10)
        base = noise(60, 40)
        for array in (base.T, base[::2, 1::3], base[:, ::-1], np.asfortranarray(base), base[3:, 5], np.array(base[0, 0])):
            before = array.copy()
            self.assert_bits(codec.quantize(array), codec.quantize(np.array(array, order="C")))
            self.assert_bits(array, before)
        unaligned = np.frombuffer(b"x" + base.tobytes(), np.uint8)[1:].view(np.float32)
        self.assert_bits(codec.quantize(unaligned), codec.quantize(base.reshape(-1)))

    def test_in_place(self):
        codec, array = qstep.Codec("standard", levels=4), noise(100)
        expected = codec.quantize(array)
        self.assertIs(codec.quantize(array, out=array), array)
        self.assert_bits(array, expected)

    def test_many_threads_share_a_codec(self):
        codec, array, found = qstep.Codec("standard", threads=1), noise(3000), {}
        expected = [codec.quantize(array, step) for step in range(8)]

        def work(step):
            found[step] = codec.quantize(array, step)

        threads = [threading.Thread(target=work, args=(step,)) for step in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for step in range(8):
            self.assert_bits(found[step], expected[step])

    def test_goes_on_in_a_forked_process(self):
        array = noise(200000)
        for threads in (2, 0):
            codec = qstep.Codec("standard", seed=3, threads=threads)
            expected, stream = codec.quantize(array), codec.encode(array)
            other = qstep.Codec("standard", seed=4, threads=threads).quantize(array)

            def work():
                self.assert_bits(codec.quantize(array), expected)
                self.assertEqual(codec.encode(array), stream)
                self.assert_bits(qstep.decode(stream, threads), expected)
                self.assert_bits(qstep.Codec("standard", seed=4, threads=threads).quantize(array), other)

            self.assertEqual(status_of_forked(work), 0)
            self.assert_bits(codec.quantize(array), expected)

    def test_copies_are_codecs_of_their_own(self):
        array = noise(1000)
        codec = qstep.Codec("standard", levels=4, seed=np.uint64(2**64 - 1), error_feedback=False)
        expected = codec.quantize(array)
        copies = [copy.copy(codec), copy.deepcopy(codec), pickle.loads(pickle.dumps(codec))]
        text = repr(codec)
        del codec
        for again in copies:
            self.assertEqual(repr(again), text)
            # What takes the memory of a codec that is gone.
            others = [qstep.Codec("sign", bucket_size=size) for size in range(1, 30)]
            self.assert_bits(again.quantize(array), expected)
            self.assertEqual(len(others), 29)

    def refuse(self, kind, part, call, *arguments, **options):
        with self.assertRaises(kind) as caught:
            call(*arguments, **options)
        self.assertIn(part, str(caught.exception))

    def test_refuses_options(self):
        self.refuse(ValueError, 'did you mean "standard"?', qstep.Codec, "standart")
        self.refuse(ValueError, "standard needs at least 2 levels, got 1", qstep.Codec, "standard", levels=1)
        self.refuse(ValueError, "smart has at most 256 levels, got 300", qstep.Codec, "smart", levels=300)
        self.refuse(ValueError, "levels takes a whole number, not '4.5'", qstep.Codec, "standard", levels=4.5)
        self.refuse(ValueError, 'no option "bucket"; did you mean', qstep.Codec, "standard", bucket=5)
        self.refuse(ValueError, "points has no meaning without", qstep.Codec, "smart", points="random")
        self.refuse(ValueError, "null character", qstep.Codec, "standard\0x")
        self.refuse(ValueError, "null character", qstep.Codec, "standard", rounding="nearest\0x")
        self.refuse(ValueError, "null character", qstep.Codec, "standard", **{"levels\0x": 4})

    def test_refuses_arrays(self):
        codec = qstep.Codec("standard")
        for wrong in (np.float64, np.float16, np.int32, ">f4", np.complex64):
            self.refuse(TypeError, "codecs take float32", codec.quantize, np.zeros(10, wrong))
        self.refuse(TypeError, "this is a list", codec.quantize, [1.0, 2.0])
        self.refuse(ValueError, "1 to 2^48 elements here, not 0", codec.quantize, noise(0))
        self.refuse(ValueError, "elements here, not 0", codec.encode, noise(3, 0))
        array = noise(10, 10)
        array[4, 2] = np.nan
        self.refuse(RuntimeError, "holds nan at 42; a codec needs finite numbers", codec.quantize, array)
        array[4, 2] = -np.inf
        self.refuse(RuntimeError, "holds -inf at 42", codec.encode, array)
        self.refuse(ValueError, "a step is at least 0, not -1", codec.quantize, noise(10), -1)
        self.refuse(TypeError, "integer", codec.quantize, noise(10), 1.5)
        for wrong in (2**63, 2**64 + 1, -2**63 - 1):
            self.refuse(ValueError, f"a step is a whole number of at most 9223372036854775807, not {wrong}",
                        codec.quantize, noise(10), wrong)
            self.refuse(ValueError, "a step is", codec.encode, noise(10), wrong)

    def test_refuses_arrays_that_it_cannot_write_to(self):
        codec, array = qstep.Codec("standard"), noise(10)
        frozen = np.zeros(10, np.float32)
        frozen.flags.writeable = False
        self.refuse(ValueError, "writeable", codec.quantize, array, out=frozen)
        self.refuse(ValueError, "contiguous", codec.quantize, array, out=np.zeros(20, np.float32)[::2])
        self.refuse(ValueError, "out has the shape (9,)", codec.quantize, array, out=np.zeros(9, np.float32))
        self.refuse(TypeError, "out is a NumPy array of float32", codec.quantize, array, out=np.zeros(10))
        whole = noise(11)
        self.refuse(ValueError, "overlaps the one to quantize", codec.quantize, whole[1:], out=whole[:-1])
        self.refuse(ValueError, "without error-feedback", codec.quantize, array, residual=np.zeros(10, np.float32))
        feedback = qstep.Codec("standard", error_feedback=True)
        self.refuse(ValueError, "needs the residual", feedback.quantize, array)
        residual = np.zeros(10, np.float32)
        self.refuse(RuntimeError, "finite", feedback.quantize, np.full(10, np.inf, np.float32), residual=residual)
        self.assert_bits(residual, np.zeros(10, np.float32))

    def test_refuses_streams(self):
        stream = qstep.Codec("standard").encode(noise(100))
        for wrong in (b"", b"QSTP", stream[:-1], stream + b"x", b"\0" * len(stream)):
            self.refuse((RuntimeError, ValueError), "", qstep.decode, wrong)
        self.refuse(ValueError, "threads are 0 to 1024, not -1", qstep.decode, stream, -1)
        self.refuse(ValueError, "threads is a whole number of at most 2147483647", qstep.decode, stream, 2**40)
        self.assert_bits(qstep.decode(bytearray(stream)), qstep.decode(np.frombuffer(stream, np.uint8)))

    def test_dlpack(self):
        class Elsewhere:
            def __init__(self, array, device):
                self.array, self.device = array, device

            def __dlpack__(self, **options):
                return self.array.__dlpack__(**options)

            def __dlpack_device__(self):
                return self.device

        codec, array = qstep.Codec("standard"), noise(30)
        self.assert_bits(codec.quantize(Elsewhere(array, (1, 0))), codec.quantize(array))
        self.refuse(ValueError, "lies on the device CUDA:1; codecs take arrays in the memory of the host",
                    codec.quantize, Elsewhere(array, (2, 1)))
        self.refuse(TypeError, "codecs take float32", codec.quantize, Elsewhere(array.astype(np.float64), (1, 0)))

    def test_version(self):
        self.assertEqual(qstep.__version__, os.environ["PROJECT_VERSION"])


class Torch(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        try:
            import torch
        except ImportError:
            raise unittest.SkipTest("there is no torch") from None
        cls.torch = torch

    def test_tensors_go_in(self):
        torch, codec, array = self.torch, qstep.Codec("standard", levels=4), noise(20, 30)
        found = codec.quantize(torch.from_numpy(array))
        np.testing.assert_array_equal(bits(found), bits(codec.quantize(array)))
        np.testing.assert_array_equal(bits(codec.quantize(torch.from_numpy(array).T)), bits(codec.quantize(array.T)))
        feedback = qstep.Codec("standard", levels=4, error_feedback=True)
        residual = torch.zeros(20, 30)
        found = torch.from_numpy(feedback.quantize(torch.from_numpy(array), residual=residual.numpy()))
        self.assertTrue(torch.equal(residual, torch.from_numpy(array) - found))

    def test_tensors_that_cannot(self):
        codec, torch = qstep.Codec("standard"), self.torch
        for tensor in (torch.zeros(5, requires_grad=True), torch.zeros(5, dtype=torch.bfloat16), torch.zeros(5).double()):
            with self.assertRaises(TypeError):
                codec.quantize(tensor)
