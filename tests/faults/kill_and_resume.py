#!/usr/bin/env python3
"""Kills cifar_train again and again with SIGKILL and continues each run, which must end in the bits of a run that
nobody killed.

    kill_and_resume.py CIFAR_TRAIN [--kills N] [--seed S]

Every other kill waits for a file that is just being written, the others for a random moment from the start of the
program to its end. After each, checkpoint and metrics must be whole files, and the checkpoint at most one epoch
behind the metrics, which are written first. Prints what was met and ends with status 1 after the first difference.
"""
import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EPOCHS = 12
PER_FILE, TEST = 16, 16  # images
PIXELS = 3072
OPTIONS = (f"--data cifar --model simple --quant standard --error-feedback --batch-size 16 --test-batch-size 16 "
           f"--threads 1 --lr 0.01 --epochs {EPOCHS} --log-interval 1").split()


def write_data(folder, rng):
    folder.mkdir()
    for name, images in [(f"data_batch_{i}.bin", PER_FILE) for i in range(1, 6)] + [("test_batch.bin", TEST)]:
        records = (bytes([rng.randrange(10)]) + rng.randbytes(PIXELS) for _ in range(images))
        (folder / name).write_bytes(b"".join(records))


def stored_epoch(checkpoint):
    """Finished epochs; None where there is no checkpoint. Raises ValueError for a file that is not whole."""
    if not checkpoint.exists():
        return None
    content = checkpoint.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8:8 + length])
    end = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
    if len(content) != 8 + length + end:
        raise ValueError(f"{checkpoint} has {len(content)} bytes and its header tells of {8 + length + end}")
    return int(header["__metadata__"]["epoch"])


def metrics(folder):
    """The lines without the two columns that measure time; none where there is no file."""
    path = folder / "metrics.csv"
    text = path.read_text() if path.exists() else ""
    if text and not text.endswith("\n"):
        raise ValueError(f"{path} is cut short")
    return [line.rsplit(",", 2)[0] for line in text.splitlines()]


class Trial:
    """One output folder, its run, and its kills."""

    def __init__(self, program, home, name, rng):
        self.program, self.home, self.rng = program, home, rng
        self.folder = home / name
        self.checkpoint = self.folder / "checkpoint.safetensors"

    def start(self):
        options = ["--resume", str(self.checkpoint)] if self.checkpoint.exists() else OPTIONS + ["--output",
                                                                                                  str(self.folder)]
        with open(self.home / "log", "w") as log:
            return subprocess.Popen([self.program] + options, cwd=self.home, stdout=log, stderr=log)

    def finish(self):
        """False when nothing is left to do: the last kill came behind the last checkpoint."""
        if stored_epoch(self.checkpoint) == EPOCHS:
            return False
        if not self.checkpoint.exists() and self.folder.exists():
            # Nothing to continue from: as the program says, empty the folder and begin again.
            for file in self.folder.iterdir():
                file.unlink()
        process = self.start()
        if process.wait() != 0:
            raise RuntimeError(f"status {process.returncode}: {(self.home / 'log').read_text()[-500:]}")
        return True

    def kill(self, duration, while_writing):
        """True when the program was killed, False when it had ended before."""
        process = self.start()
        if while_writing:
            until = time.monotonic() + self.rng.uniform(0, duration)
            while process.poll() is None and (time.monotonic() < until or not self.is_writing()):
                pass
        else:
            time.sleep(self.rng.uniform(0, duration))
        process.send_signal(signal.SIGKILL)
        return process.wait() == -signal.SIGKILL

    def is_writing(self):
        return self.checkpoint.with_name(self.checkpoint.name + ".tmp").exists()

    def check_kept(self):
        """Checkpoint and metrics are whole, and the checkpoint is the newest there was."""
        epoch, lines = stored_epoch(self.checkpoint), metrics(self.folder)
        if len(lines) > 2 and (epoch is None or epoch < len(lines) - 2):
            raise ValueError(f"metrics of {len(lines) - 1} epochs and a checkpoint after {epoch}")
        return epoch


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    os.environ["OMP_WAIT_POLICY"] = "passive"
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        write_data(home / "cifar", rng)
        whole = Trial(os.path.abspath(arguments.program), home, "whole", rng)
        started = time.monotonic()
        whole.finish()
        duration = time.monotonic() - started
        wanted = whole.checkpoint.read_bytes(), metrics(whole.folder)
        kills = resumes = before_first = in_writing = 0
        while kills < arguments.kills:
            trial = Trial(whole.program, home, f"killed{resumes}", rng)
            # A resumed run may be killed too.
            while kills < arguments.kills and stored_epoch(trial.checkpoint) != EPOCHS:
                if trial.kill(duration, while_writing=kills % 2 == 1):
                    kills += 1
                    in_writing += trial.is_writing()
                    before_first += trial.check_kept() is None
                if not trial.checkpoint.exists() or rng.random() < 0.7:
                    break
            went_on = trial.finish()
            resumes += 1
            if (trial.checkpoint.read_bytes(), metrics(trial.folder)) != wanted:
                sys.exit(f"{trial.folder.name}: after {kills} kills a run ended in other bits")
            for file in trial.folder.iterdir():
                # A report that was being written when the kill came stays half, as no run comes back to it.
                if file.suffix == ".tmp" and went_on:
                    sys.exit(f"{file} is left")
                file.unlink()
    print(f"{kills} kills (seed {arguments.seed}): {in_writing} while a checkpoint was being written, {before_first} "
          f"before the first checkpoint; {resumes} runs continued to their end, all in the same bits")


if __name__ == "__main__":
    main()
