"""A service under load that its own CPU limit holds back, before and after what `capacity advise` says of it: the chat on a
host of its own, shipped, driven, advised upon, shipped again and driven by the same load."""

import json
import os
import subprocess
import time
from pathlib import Path

from deploy import HOME, Host
from place import Repository, run
from report import say

# What the team gave the gateway.
LIMIT = "0.1"
# Requests in a second: from, to, and how long each rate lasts.
LOAD = ("--from", "50", "--to", "6000", "--step", "10s")


class Team:
    """A clone of the chat whose gateway has a limit, and the host that it is shipped to."""

    def __init__(self, place):
        self.host = Host(place, "driven")
        settings = self.host.variables["SSH_CONFIG"]
        self.environment = place.environment("driven", BOWLINE_SSH_CONFIG=settings)
        # The compiler and what it fetched before are in the home of whoever runs this.
        for name, folder in (("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")):
            self.environment[name] = os.environ.get(name, str(Path.home() / folder))
        self.bowline = place.bowline
        self.repository = Repository(place, "driven/chat", self.environment)
        source = HOME.parent / "examples/chat"
        run(["bash", "-c", 'tar -C "$1" --exclude=./target -cf - . | tar -C "$2" -xf -', "-", source, self.repository.path])
        self.edit("bowline.toml", 'project = "chat"', f'project = "chat"\nhost = "ssh://{self.host.name}"')
        self.edit("docker-compose.yaml", "    image: chat-gateway\n", f"    image: chat-gateway\n    cpus: {LIMIT}\n")

    def edit(self, name, old, new):
        """Changes a text that has to be there."""
        path = self.repository.path / name
        text = path.read_text()
        if old not in text:
            raise RuntimeError(f"{name} is not the one this script knows: `{old}` is missing")
        path.write_text(text.replace(old, new, 1))

    def run(self, *words):
        """Runs Bowline, and gives the last line that it printed."""
        printed = run([self.bowline, "-C", self.repository.path, "--json", *words], env=self.environment)
        return json.loads(printed.splitlines()[-1])

    def drive(self):
        """The most requests in a second that were answered, and the slowest of a hundred at the last rate that was kept up."""
        found = self.run("capacity", "load", f"http://{self.host.variables['ADDRESS']}:8080/", *LOAD)
        kept = [step for step in found["steps"] if step["answered"] >= 0.9 * step["offered"]]
        say(f"driven: {found['reached']:.0f} requests/s answered, then {found['end']}")
        return found["reached"], kept[-1]["latency"][2]

    def held(self, since):
        """How much of the time since then the gateway was held back, in percent."""
        seconds = max(20, int(time.time() - since))
        picture = self.run("capacity", "box", "--since", f"{seconds}s")
        return next(row["throttled"] for row in picture["services"] if row["name"] == "gateway")


def measure(place, report, _runs, pictures):
    """Drives, advises, ships, and drives again."""
    team = Team(place)
    team.repository.commit("[minor] A gateway with a tenth of a processor")
    team.run("ship", "box")
    team.run("capacity", "start", "box", "--every", "5s")
    time.sleep(60)
    rates = []
    for turn in ("before", "after"):
        began = time.time()
        rate, slowest = team.drive()
        time.sleep(10)
        rates.append((rate, slowest, team.held(began)))
        if pictures:
            page = pictures / f"driven-{turn}.html"
            span = f"{int(time.time() - began) + 60}s"
            run([team.bowline, "-C", team.repository.path, "capacity", "box", "--since", span, "--html", page],
                env=team.environment)
            photograph(page)
        if turn == "before":
            advise(team)
    (before, _, held_before), (after, _, held_after) = rates
    report.add("driven", f"requests/s, before and after a limit of {LIMIT} is doubled", "times as many before", [before / after],
               below=0.75)
    report.add("driven", "gateway held back under load, before", "% of the time", [held_before])
    report.add("driven", "gateway held back under load, after", "% of the time", [held_after])
    team.run("capacity", "stop", "box", "--forget")


def advise(team):
    """Lets Bowline write what it advises, and ships it."""
    advice = team.run("capacity", "advise", "box", "--write")
    lines = next(one["lines"] for one in advice["advice"] if one["service"] == "gateway")
    limit = next((line for line in lines if line["setting"] == "CPU limit"), None)
    if limit is None:
        raise RuntimeError(f"a gateway that is held back has to get more: {lines}")
    say(f"driven: advised: {limit}")
    say("driven: written:\n" + team.repository.git("diff", "-U0", "bowline.toml"))
    team.repository.commit("[patch] What bowline capacity advise says")
    team.run("ship", "box")
    time.sleep(30)


def photograph(page):
    """A picture of a page, where a browser is there to make it."""
    picture = page.with_suffix(".png")
    try:
        run(["chromium", "--headless", "--no-sandbox", "--hide-scrollbars", "--force-device-scale-factor=1",
             "--window-size=900,2330", f"--screenshot={picture}", page.resolve().as_uri()], timeout=120)
    except (FileNotFoundError, RuntimeError, subprocess.TimeoutExpired) as error:
        say(f"driven: SKIPPED the picture of {page}: {error}")

