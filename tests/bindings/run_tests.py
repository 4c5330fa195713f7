#!/usr/bin/env python3
"""run_tests.py FILE CLASS: runs one class of unittest tests; status 77 where what it needs is missing."""
import importlib.util
import pathlib
import sys
import unittest


def main():
    path, name = pathlib.Path(sys.argv[1]), sys.argv[2]
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except unittest.SkipTest as reason:
        print(f"skipped: {reason}")
        return 77
    tests = unittest.defaultTestLoader.loadTestsFromTestCase(getattr(module, name))
    result = unittest.TextTestRunner(verbosity=2).run(tests)
    if not result.wasSuccessful() or result.testsRun == 0 and not result.skipped:
        return 1
    # A class needs one thing or has it; there is nothing skipped among what was run.
    return 77 if result.skipped else 0


if __name__ == "__main__":
    sys.exit(main())
