"""Images to a registry: `bowline release` against `docker build` (buildx) and `docker push`, one after the other.

Eight services, a jar of 82 MB each, built before the clock runs. A jar is a ZIP with stored entries: 52 libraries of
1 MB that are the same in all services, and 1860 classes of 16 kB of its own. Of each 16 kB 15 are random and 1 is text:
it compresses like a real jar, to 94 %. The Dockerfile is `FROM` a base of 4 MB in the same registry, `COPY` of the jar,
`ENTRYPOINT`. Each round begins with an empty registry, an empty engine and an empty cache."""

import json
import random
import zipfile

from place import Engine, Registry, Repository, run, timed
from report import say

SERVICES = ["gateway", "user", "chat", "room", "file", "search", "notify", "admin"]
LIBRARIES, CLASSES = 52, 1860
LIBRARY, CLASS = 1_000_000, 16_000
CASES = ["first time", "one class changed in each", "new version, nothing changed",
         "new version, nothing changed, inputs not told"]


def content(name, size):
    """The same bytes for the same name, that compress to 94 %."""
    dice, text = random.Random(name), (f"{name}/Lorg/example/chat/Message;".encode() * 64)[:1000]
    chunks = (dice.randbytes(15_000) + text for _ in range(-(-size // 16_000)))
    return b"".join(chunks)[:size]


def write_jars(root, revision, libraries):
    """What a build leaves: in each jar one class depends on the revision."""
    for service in SERVICES:
        path = root / service / "build/libs" / f"{service}.jar"
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as jar:
            put = lambda name, body: jar.writestr(zipfile.ZipInfo(name, (1980, 2, 1, 0, 0, 0)), body)
            put("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\r\nMain-Class: org.example.Main\r\n")
            for name, body in libraries.items():
                put(f"BOOT-INF/lib/{name}", body)
            for number in range(CLASSES):
                name = f"BOOT-INF/classes/org/example/{service}/Class{number:04}.class"
                seed = f"{name} {revision}" if number == CLASSES // 2 else name
                put(name, content(seed, CLASS))


def project(registry, inputs):
    """The files of the repository."""
    config = f'[project]\nname = "chat"\n\n[registry]\nrepository = "{registry.address}/chat"\n'
    files = {".gitignore": "build/\n"}
    for service in SERVICES:
        config += f'\n[services.{service}]\ncontext = "{service}"\n'
        config += f'inputs = ["{service}/**"]\n' if inputs else ""
        files[f"{service}/Dockerfile"] = (f"FROM {registry.address}/base:1\nCOPY build/libs/{service}.jar /app/app.jar\n"
                                          'ENTRYPOINT ["/bin/java", "-jar", "/app/app.jar"]\n')
        files[f"{service}/Main.java"] = "// revision 0\n"
    return files | {"bowline.toml": config}


def push_base(place, engine, registry):
    """A base image in the registry, as somebody else would have put it there."""
    root = place.root / "base"
    (root / "bin").mkdir(parents=True, exist_ok=True)
    (root / "bin/java").write_bytes(content("java", 4_000_000))
    run(["tar", "-C", root, "--mtime=@0", "-cf", f"{root}.tar", "bin"])
    engine.docker("import", f"{root}.tar", f"{registry.address}/base:1")
    engine.docker("push", "-q", f"{registry.address}/base:1")
    engine.forget()


class Ours:
    """`bowline release`, in a repository whose remote is beside it."""

    def __init__(self, place, engine, registry, name):
        self.bowline, self.registry = place.bowline, registry
        # No engine to be found: what is measured needs none.
        self.environment = place.environment(name, DOCKER_HOST="unix:///nowhere")
        self.repository = Repository(place, f"{name}/repository", self.environment)
        self.path, self.tags = self.repository.path, set()

    def prepare(self, case, revision):
        """The change, committed and merged."""
        if case == CASES[0]:
            self.repository.write(project(self.registry, inputs=True))
        elif case == CASES[1]:
            self.repository.write({f"{service}/Main.java": f"// revision {revision}\n" for service in SERVICES})
        elif case == CASES[2]:
            self.repository.write({"NOTES.md": "nothing that is built\n"})
        else:
            self.repository.write({"bowline.toml": project(self.registry, inputs=False)["bowline.toml"]})
        self.repository.commit(f"[minor] {case}")

    def measure(self):
        """The command."""
        printed = run([self.bowline, "-C", self.path, "--json", "release"], env=self.environment)
        self.summary = json.loads(printed.splitlines()[-1])
        tag, changed = self.summary["tag"], [each["changed"] for each in self.summary["services"].values()]
        # Doing nothing is fast, too.
        if tag in self.tags or len(changed) != len(SERVICES) or len(set(changed)) != 1:
            raise RuntimeError(f"that was no release of all services: {self.summary}")
        self.tags.add(tag)


class Peer:
    """What scripts do: build and push, service by service."""

    def __init__(self, place, engine, registry, name):
        self.engine, self.registry, self.version = engine, registry, 0
        self.path = place.directory(f"{name}/repository")

    def prepare(self, case, revision):
        """The change; nothing needs to be committed."""
        self.version += 1
        for path, text in project(self.registry, inputs=True).items():
            (self.path / path).parent.mkdir(parents=True, exist_ok=True)
            (self.path / path).write_text(text)

    def measure(self):
        """The commands."""
        for service in SERVICES:
            tag = f"{self.registry.address}/chat:{service}_v1.{self.version}.0"
            # What `docker build` means since Docker 23, whatever client is there: Debian 12 has one of before.
            self.engine.docker("buildx", "build", "-q", "-t", tag, str(self.path / service))
            self.engine.docker("push", "-q", tag)


def measure_side(place, engine, side, libraries, name, results):
    """One side through all cases, from nothing."""
    registry = Registry(place, f"{name}-registry")
    push_base(place, engine, registry)
    one = side(place, engine, registry, name)
    for case in CASES:
        revision = 0 if case == CASES[0] else 1
        one.prepare(case, revision)
        if case in CASES[:2]:
            write_jars(one.path, revision, libraries)
        before = registry.bytes_received()
        seconds = timed(one.measure)
        sent = None if before is None else (registry.bytes_received() - before) / 1e6
        say(f"images: {side.__name__.lower():5} {case}: {seconds:.1f} s" + ("" if sent is None else f", {sent:.1f} MB sent"))
        results[case].append((seconds, sent))
    registry.close()
    engine.forget()
    run(["rm", "-rf", place.root / name, place.root / f"{name}.git"])


def measure(place, report, runs):
    """The suite."""
    engine = Engine(place, place.environment("docker"))
    libraries = {f"library-{number:02}.jar": content(f"library {number}", LIBRARY) for number in range(LIBRARIES)}
    results = {side: {case: [] for case in CASES} for side in (Ours, Peer)}
    for number in range(runs):
        # Neither side always comes second, to warmer caches or a hotter machine.
        for side in (Ours, Peer) if number % 2 == 0 else (Peer, Ours):
            measure_side(place, engine, side, libraries, f"{side.__name__.lower()}-{number}", results[side])
    name = f"docker build + docker push, engine {engine.version}"
    for case in CASES:
        ours, peer = results[Ours][case], results[Peer][case]
        times = lambda pairs: [seconds for seconds, _ in pairs]
        report.add("images", case, "s", times(ours), times(peer), name, ratio=1.0)
        sent = lambda pairs: [sent for _, sent in pairs]
        if None in sent(ours + peer):
            report.skip("images", f"{case}: sent", "iptables cannot count packets here")
        else:
            report.add("images", f"{case}: sent", "MB", sent(ours), sent(peer), name)
