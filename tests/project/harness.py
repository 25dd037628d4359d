"""Tests are functions; they run in the order they are written and get the site."""

import time
import traceback
from pathlib import Path

TESTS = []


def test(function):
    """Marks a function as a test. Its docstring's first line is its name."""
    TESTS.append(function)
    return function


def needed(function):
    """Marks a test without which those after it mean nothing; it is always run."""
    function.needed = True
    return test(function)


class Failure(Exception):
    """What was expected and what was found."""


def check(condition, message):
    if not condition:
        raise Failure(message)


def check_equal(found, expected, what):
    check(found == expected, f"{what}: expected {expected!r}, found {found!r}")


def wait_until(condition, what, seconds=60):
    """Waits until `condition()` is true, and returns what it gave."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > end:
            raise Failure(f"after {seconds} s still not: {what}")
        time.sleep(0.1)
    return result


def run_all(site, artefacts: Path, wanted) -> int:
    """Runs the tests whose name contains one of `wanted` (all without), a line for each; how many failed."""
    passed = failed = 0
    for function in TESTS:
        name = function.__doc__.splitlines()[0].rstrip(".")
        path = f"{function.__module__}.{function.__name__}"
        if wanted and not getattr(function, "needed", False) and not any(word in path for word in wanted):
            continue
        begin = time.monotonic()
        try:
            note = function(site)
        except Exception as error:
            failed += 1
            print(f"FAIL  {name}  ({time.monotonic() - begin:.1f} s)", flush=True)
            print("      " + (str(error) if isinstance(error, Failure) else repr(error)).replace("\n", "\n      "), flush=True)
            with (artefacts / "failures.log").open("a") as log:
                log.write(f"== {name}\n{traceback.format_exc()}\n{site.describe()}\n")
            if getattr(function, "needed", False):
                print("      the tests after this one need it: stopped", flush=True)
                break
        else:
            passed += 1
            print(f"PASS  {name}{f': {note}' if note else ''}  ({time.monotonic() - begin:.1f} s)", flush=True)
    print(f"\n{passed} passed, {failed} failed", flush=True)
    return failed
