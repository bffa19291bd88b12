"""Alter every file that is read, guided by coverage of tastevec: ``make fuzz``, which needs atheris and Linux.

Each target has its own process, because a parser that crashes ends its process. Results are in ``runs/fuzz/TARGET``:
``crashes`` contains inputs that end in an error other than TastevecError, ``corpus`` those that reach new lines.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "fuzz")]
LONGEST = 1 << 18  # bytes of an input
QUIET = ["-print_final_stats=0", "-verbosity=0", "-rss_limit_mb=6000", "-timeout=60"]


def fuzz_one(name: str, seconds: int, found: Path) -> None:
    """Alter one file for ``seconds``; never returns."""
    import atheris  # noqa: PLC0415  installed for `make fuzz` only

    with atheris.instrument_imports(include=["tastevec"]):
        import tastevec.serving.recommender  # noqa: PLC0415  as above
        import tastevec.training.settings  # noqa: F401, PLC0415  as above
        from targets import TARGETS  # noqa: PLC0415  imports here are instrumented
    from mutations import mutated  # noqa: PLC0415  of the tests
    from test_fuzz import check_target  # noqa: PLC0415  as above

    target, root = TARGETS[name], samples_of(found.parent)
    own = Path(shutil.copytree(root, Path(tempfile.mkdtemp()) / "samples"))
    for part in ("corpus", "crashes"):
        (found / part).mkdir(parents=True, exist_ok=True)
    (found / "corpus" / "valid").write_bytes(target.valid(own))
    saved = ROOT / "tests" / "fuzz" / "corpus" / name
    arguments = [sys.argv[0], str(found / "corpus"), *([str(saved)] if saved.is_dir() else [])]
    arguments += [
        f"-max_total_time={seconds}",
        f"-artifact_prefix={found / 'crashes'}/",
        f"-max_len={LONGEST}",
        *QUIET,
    ]

    def altered(data: bytes, longest: int, seed: int) -> bytes:
        """Alter by the format only: with the Mutate of atheris 3.0.0, processes died of a corrupted heap."""
        return mutated(target.file, data, Random(seed))[:longest]  # noqa: S311  drawn by libFuzzer

    atheris.Setup(arguments, lambda data: check_target(target, own, data), custom_mutator=altered)
    atheris.Fuzz()


def samples_of(folder: Path) -> Path:
    """Return the folder of the examples, written once for all targets."""
    from samples import write_bundle, write_samples  # noqa: PLC0415  of the tests
    from test_fuzz import with_copies  # noqa: PLC0415  as above

    root = folder / "samples"
    if not root.exists():
        fresh = Path(tempfile.mkdtemp(dir=folder))
        write_samples(fresh)
        try:
            write_bundle(fresh / "bundle", fresh / "prepared")
        except ImportError:
            sys.stdout.write("torch is not installed: bundles are skipped\n")
        with_copies(fresh).rename(root)
    return root


def main() -> None:
    """Fuzz all targets in turn, or the named ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="TARGET", help="default: all")
    parser.add_argument("--seconds", type=int, default=10, help="for each target")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "fuzz")
    parser.add_argument("--one", action="store_true", help="in this process")
    options = parser.parse_args()
    if options.one:
        fuzz_one(options.names[0], options.seconds, options.out / options.names[0])
    from targets import TARGETS  # noqa: PLC0415  of the tests

    options.out.mkdir(parents=True, exist_ok=True)
    root, crashed = samples_of(options.out), []
    for name in options.names or TARGETS:
        if not (root / TARGETS[name].sample / TARGETS[name].file).exists():
            continue
        command = [
            sys.executable,
            __file__,
            name,
            "--one",
            "--seconds",
            str(options.seconds),
            "--out",
            str(options.out),
        ]
        with (options.out / f"{name}.log").open("w") as log:
            code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
        inputs = sorted((options.out / name / "crashes").glob("*"))
        ended = f"ended with {code}" if code else "nothing"
        sys.stdout.write(f"{name}: {ended}, {len(inputs)} inputs in crashes\n")
        sys.stdout.flush()
        crashed += [name] * bool(code or inputs)
    if crashed:
        sys.exit(f"Unexpected errors in {', '.join(crashed)}; see the logs in {options.out}")


if __name__ == "__main__":
    main()
