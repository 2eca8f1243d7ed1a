"""What was measured: one line a case, and whether its bar holds."""

import json
import statistics
import sys


def say(text):
    """Progress, for people."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


class Report:
    """Collects cases and prints them."""

    def __init__(self):
        self.cases = []

    def add(self, suite, case, unit, ours, peer=None, peer_name=None, *, below=None, ratio=None):
        """Adds a case by all its measurements; medians count. A bar is either absolute (`below`: ours stays under it)
        or relative (`ratio`: ours is at most so many times the peer's)."""
        mine, other = statistics.median(ours), statistics.median(peer) if peer else None
        quotient = mine / other if other else None
        bar, holds = None, None
        if below is not None:
            bar, holds = f"< {below:g} {unit}", mine < below
        elif ratio is not None:
            bar, holds = f"ratio <= {ratio:g}", quotient is not None and quotient <= ratio
        self.cases.append({
            "suite": suite, "case": case, "ours": tidy(mine), "peer": tidy(other), "peer_name": peer_name,
            "unit": unit, "ratio": tidy(quotient), "bar": bar, "holds": holds,
            "runs": [tidy(value) for value in ours], "peer_runs": [tidy(value) for value in peer or []],
        })

    def skip(self, suite, case, reason):
        """Notes that a case could not run, and why."""
        say(f"SKIPPED: {suite} {case}: {reason}")
        self.cases.append({"suite": suite, "case": case, "skipped": reason})

    def print(self, as_json):
        """Prints all cases."""
        if as_json:
            for case in self.cases:
                print(json.dumps(case))
        else:
            print_table(self.cases)

    def holds(self):
        """Whether no bar was missed."""
        return all(case.get("holds") is not False for case in self.cases)


def tidy(number):
    """A number without digits that mean nothing."""
    return None if number is None else float(f"{number:.4g}")


def print_table(cases):
    """The cases in columns."""
    rows = [("suite", "case", "ours", "peer", "ratio", "bar", "", "peer is")]
    for case in cases:
        if "skipped" in case:
            rows.append((case["suite"], case["case"], "-", "-", "-", "-", "skipped", case["skipped"]))
            continue
        value = lambda key: "-" if case[key] is None else f"{case[key]:g} {case['unit']}"
        ratio = "-" if case["ratio"] is None else f"{case['ratio']:.2f}"
        verdict = {True: "holds", False: "MISSED", None: ""}[case["holds"]]
        rows.append((case["suite"], case["case"], value("ours"), value("peer"), ratio, case["bar"] or "-", verdict,
                     case["peer_name"] or "-"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        right = lambda column: column in (2, 3, 4)
        cells = [text.rjust(width) if right(column) else text.ljust(width)
                 for column, (text, width) in enumerate(zip(row, widths))]
        print("  ".join(cells).rstrip())
