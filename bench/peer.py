"""kapp and Helm, which are built once from their published Go modules: nobody publishes the programs where a machine
without the wide internet could get them. A module is built where Go's own cache has it, so with exactly the dependencies
that it names. What is built stays beside the lab's Kubernetes."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

from report import say

CACHE = Path(os.environ.get("BOWLINE_LAB_CACHE", "/var/cache/bowline-lab"))
# The module, its version, the command in it, and the variable that tells `--version`.
MODULES = {
    "kapp": ("carvel.dev/kapp", "0.64.0", "./cmd/kapp", "carvel.dev/kapp/pkg/kapp/version.Version=0.64.0"),
    "helm": ("helm.sh/helm/v4", "4.3.1", "./cmd/helm", "helm.sh/helm/v4/internal/version.version=v4.3.1"),
}


def build(name):
    """Where the peer's program is; builds it where it is not there yet."""
    module, version, command, stamp = MODULES[name]
    program = CACHE / f"peers/{name}-{version}"
    if program.exists():
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{program}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            say(f"building {name} {version} from its Go module, once, into {program}: some minutes")
            run_go("mod", "download", f"{module}@v{version}")
            source = run_go("list", "-m", "-f", "{{.Dir}}", f"{module}@v{version}").strip()
            run_go("-C", source, "build", "-mod=readonly", "-trimpath", f"-ldflags=-s -w -X {stamp}", "-o", f"{program}.new",
                   command)
            os.rename(f"{program}.new", program)
    return program


def run_go(*arguments):
    """Runs the Go that scripts/setup unpacked into the cache where the machine's own is missing or too old, or else that."""
    go = shutil.which("go", path=f"{CACHE}/go/bin:{os.environ['PATH']}")
    if go is None:
        raise RuntimeError("no Go is here: scripts/setup kubernetes brings one")
    settings = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    done = subprocess.run([go, *arguments], env=os.environ | settings, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"go {' '.join(arguments)}: {done.stderr.strip()[-1000:]}")
    return done.stdout
