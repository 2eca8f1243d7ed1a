"""Where the measurements happen: a scratch directory, processes, a registry, an engine, a repository."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from report import say


class Place:
    """A scratch directory and everything that was started in it; leaving it stops and deletes all of that."""

    def __init__(self, bowline, keep):
        self.root = Path(f"/tmp/bowline-bench-{os.getpid()}")
        self.bowline = str(Path(bowline).resolve())
        self.keep = keep
        self.endings = []

    def __enter__(self):
        self.root.mkdir()
        return self

    def __exit__(self, *_):
        for ending in reversed(self.endings):
            try:
                ending()
            except (OSError, RuntimeError) as error:
                say(f"cleaning up: {error}")
        if not self.keep:
            shutil.rmtree(self.root, ignore_errors=True)

    def directory(self, name):
        """A new, empty directory."""
        path = self.root / name
        path.mkdir(parents=True)
        return path

    def start(self, command, log, **options):
        """Starts a process that lives until it is stopped or the place is left."""
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=open(log, "ab"), stderr=subprocess.STDOUT,
                                   **options)
        self.endings.append(lambda: stop(process))
        return process

    def environment(self, name, **more):
        """Variables for programs that must not see this machine's user: a home and caches of their own."""
        home = self.root / name
        home.mkdir(parents=True, exist_ok=True)
        own = {"HOME": str(home), "BOWLINE_STATE": str(home / "state"), "BOWLINE_CACHE": str(home / "cache"),
               "NO_COLOR": "1", "GIT_CONFIG_NOSYSTEM": "1"}
        for role in ("AUTHOR", "COMMITTER"):
            own |= {f"GIT_{role}_NAME": "bench", f"GIT_{role}_EMAIL": "bench@example.com"}
        kept = {key: os.environ[key] for key in ("PATH", "LANG", "TERM") if key in os.environ}
        return kept | own | more


def stop(process):
    """Ends a process and waits for it."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run(command, **options):
    """Runs a command that has to work, and gives what it printed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def timed(work):
    """How many seconds some work takes, on a machine whose writes are done."""
    os.sync()
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def wait_for(what, ready, seconds=30):
    """Waits until something is ready."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not come up in {seconds} s")
        time.sleep(0.05)


def free_port():
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port):
    """Whether somebody listens on a port of the loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Registry:
    """Debian's docker-registry on the loopback, with a storage of its own, and the bytes that were sent to it: those of
    all packets to its port, as the kernel's packet filter counts them."""

    def __init__(self, place, name):
        self.directory = place.directory(name)
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        config = self.directory / "config.yml"
        config.write_text(f"version: 0.1\nlog:\n  level: warn\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n"
                          f"    rootdirectory: {self.directory}/data\nhttp:\n  addr: {self.address}\n")
        self.process = place.start(["docker-registry", "serve", config], self.directory / "log")
        wait_for("the registry", lambda: answers(self.port))
        self.rule = ["INPUT", "-i", "lo", "-p", "tcp", "--dport", str(self.port)]
        counting = subprocess.run(["iptables", "-w", "-I", *self.rule], capture_output=True)
        self.counts = counting.returncode == 0
        place.endings.append(self.close)

    def bytes_received(self):
        """Bytes sent to it so far; nothing where packets cannot be counted."""
        if not self.counts:
            return None
        lines = run(["iptables", "-w", "-nvxL", "INPUT"]).splitlines()
        line = next(line for line in lines if f"dpt:{self.port}" in line)
        return int(line.split()[1])

    def close(self):
        """Stops it and deletes what it stored."""
        if self.counts:
            subprocess.run(["iptables", "-w", "-D", *self.rule], capture_output=True)
            self.counts = False
        stop(self.process)
        shutil.rmtree(self.directory, ignore_errors=True)


class Engine:
    """A Docker engine of our own beside the machine's: it builds and pushes from the machine's loopback."""

    def __init__(self, place, environment):
        root = place.directory("engine")
        self.environment = environment | {"DOCKER_HOST": f"unix://{root}/socket"}
        command = ["dockerd", "--data-root", root / "data", "--exec-root", root / "run", "--pidfile", root / "pid",
                   "--host", self.environment["DOCKER_HOST"], "--bridge", "none", "--iptables=false", "--ip-forward=false",
                   "--ip-masq=false"]
        place.start([str(word) for word in command], root / "log")
        alive = lambda: subprocess.run(["docker", "version"], env=self.environment, capture_output=True).returncode == 0
        wait_for("dockerd", alive)
        self.version = self.docker("version", "--format", "{{.Server.Version}}").strip()

    def docker(self, *arguments, **options):
        """Runs docker on it."""
        return run(["docker", *arguments], env=self.environment, **options)

    def forget(self):
        """Takes away all images and all that builds have cached."""
        images = self.docker("image", "ls", "-aq").split()
        if images:
            self.docker("image", "rm", "-f", *sorted(set(images)))
        self.docker("builder", "prune", "-af")


class Repository:
    """A git repository with a bare one beside it as its remote."""

    def __init__(self, place, name, environment):
        self.path, self.environment = place.directory(name), environment
        origin = place.root / f"{name}.git"
        run(["git", "init", "-q", "--bare", "-b", "main", origin])
        self.git("init", "-q", "-b", "main")
        self.git("remote", "add", "origin", str(origin))

    def git(self, *arguments):
        """Runs git in it."""
        return run(["git", "-C", self.path, *arguments], env=self.environment)

    def write(self, files):
        """Writes files by their paths."""
        for path, text in files.items():
            (self.path / path).parent.mkdir(parents=True, exist_ok=True)
            (self.path / path).write_text(text)

    def commit(self, title):
        """Commits everything and pushes it."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", title)
        self.git("push", "-q", "origin", "main")
