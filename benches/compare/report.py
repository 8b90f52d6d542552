"""The results of a comparison as Markdown and as a picture. Pure: it takes what `run` has measured."""

import statistics

import chart
import figures

OURS = "ours"
PER_CPU, PER_SECOND = "requests_per_cpu_second", "requests_per_second"


# The part of the time from which on the load was busy, and could not have asked for more.
BUSY = 0.95


def prose(words):
    """One paragraph, however it was broken into lines."""
    return " ".join(words.split())


ABOUT = {
    "GET": prose(
        """Sizes are compared over 32 connections, and ways to connect with 4 KiB. The limit can do no more than answer
        kept GETs. The GETs of nginx + Flask, and nginx + gunicorn, are their nginx's. Pushgateway's answers have its own metrics as well, about
        9 KB."""
    ),
    "POST": prose(
        """This server holds four bodies that come in pieces or wait for a disk, hence the four connections. In memory,
        but for the pair, whose status is a file, and for this server with a state directory, which has synchronised a
        status before it answers. To Pushgateway metrics of that size are put."""
    ),
    "latency": prose(
        """The rate is kept whether answers come or not, and what a request waits for its turn is counted."""
    ),
    "alone": prose(
        """Each alone on the machine. Memory: of all its processes, what they share counted once (PSS) or for each
        (plain, RSS), and after GETs over 64 connections and POSTs. On disk: the files that are mapped, of Python also
        the modules that are imported. Start: median, from the exec. System calls: by strace, over many kept GETs, one
        at a time."""
    ),
}


def rounds(work, peer, figure):
    """This figure of each round, or None where there are none."""
    results = work["peers"].get(peer)
    return [result[figure] for result in results] if isinstance(results, list) else None


def median(work, peer, figure):
    values = rounds(work, peer, figure)
    return statistics.median(values) if values else None


def present(results, works):
    """The peers that did some of this work, in their order."""
    return [peer for peer in results["peers"] if any(isinstance(work["peers"].get(peer), list) for work in works)]


def relative(work, peer, figure):
    """Beside this server in the same round."""
    values, ours = rounds(work, peer, figure), rounds(work, OURS, figure)
    if not values or not ours:
        return "failed" if isinstance(work["peers"].get(peer), str) else "–"
    if peer == OURS:
        return "1.00"
    return figures.ratio(figures.ratios(values, ours))


def absolute(work, peer, figure):
    value = median(work, peer, figure)
    if value is None:
        return "–"
    busy = statistics.median(result["load_cpu_seconds"] / result["seconds"] for result in work["peers"][peer])
    more = "+" if figure == PER_SECOND and busy > BUSY else ""
    return figures.number(value) + more


def throughput(results, works, figure, cell):
    peers = present(results, works)
    head = ["", *(results["peers"][peer]["name"] for peer in peers)]
    return figures.table(head, [[work["title"], *(cell(work, peer, figure) for peer in peers)] for work in works])


def latency(results, work):
    rows = []
    for peer in present(results, [work]):
        seen = work["peers"][peer]
        rate = median(work, peer, PER_SECOND)
        of = lambda name: figures.duration(statistics.median(result["latency_us"][name] for result in seen) / 1e6)
        rows.append([results["peers"][peer]["name"], figures.number(rate), *map(of, ("p50", "p99", "p999", "max"))])
    return figures.table([work["title"], "answered per second", "p50", "p99", "p99.9", "longest"], rows)


def alone(results):
    rows = []
    for peer, found in results["alone"].items():
        calls = found["calls"]
        rows.append(
            [
                results["peers"][peer]["name"],
                figures.size(found["idle"]["pss"]),
                figures.size(found["loaded"]["pss"]),
                figures.size(found["loaded"]["rss"]),
                figures.size(found["disk"]),
                figures.duration(statistics.median(found["start"])),
                "–" if calls is None else f"{calls:.2f}",
            ]
        )
    head = [
        "",
        "memory at rest",
        "memory after load",
        "the same, plain",
        "on disk",
        "start to first 200",
        "system calls a GET",
    ]
    return figures.table(head, rows)


def summary(results):
    """One line for each peer: what the README shows."""
    gets, posts, rate = results["work"].get("get-1024"), results["work"].get("post-200"), results["latency"].get("get")
    rows = []
    for peer, known in results["peers"].items():
        if known["missing"] or peer == "durable":
            continue
        found = results["alone"].get(peer)

        def both(work):
            value = median(work, peer, PER_CPU) if work else None
            if value is None:
                return "–"
            base = median(work, OURS, PER_CPU)
            return f"{figures.ratio([value / base])} ({figures.number(value)})"

        p99 = "–"
        if rate and isinstance(rate["peers"].get(peer), list):
            p99 = figures.duration(statistics.median(r["latency_us"]["p99"] for r in rate["peers"][peer]) / 1e6)
        calls = found and found["calls"]
        rows.append(
            [
                known["name"],
                both(gets),
                both(posts),
                p99,
                *(
                    (
                        figures.size(found["loaded"]["pss"]),
                        figures.size(found["disk"]),
                        figures.duration(statistics.median(found["start"])),
                    )
                    if found
                    else "–––"
                ),
                "–" if calls is None else f"{calls:.1f}",
            ]
        )
    head = [
        "",
        "GETs per CPU second",
        "POSTs per CPU second",
        "p99 of GETs",
        "memory",
        "on disk",
        "start",
        "system calls a GET",
    ]
    return figures.table(head, rows)


def bounds(results):
    """What the bounds say: a table, and the titles of those that do not hold."""
    rows, broken = [], []
    for bound in results["bounds"]:
        if bound["missing"]:
            verdict, measured = "not measured", bound["missing"].splitlines()[0]
        else:
            middle = statistics.median(bound["ratios"])
            measured = figures.ratio(bound["ratios"])
            verdict = "holds" if middle >= bound["least"] * (1 - results["tolerance"]) else "does not hold"
        if verdict != "holds":
            broken.append(f"{bound['title']}: {measured}, at least {bound['least']:g} wanted")
        rows.append([bound["title"], f"≥ {bound['least']:g}", measured, verdict])
    return figures.table(["this server against", "bound", "measured", ""], rows), broken


def markdown(results):
    machine, peers = results["machine"], results["peers"]
    works = list(results["work"].values())
    gets = [work for work in works if work["kind"] == "get"]
    posts = [work for work in works if work["kind"] == "post"]
    parts = ["# This server and its peers"]
    elsewhere = "another" if machine["cores"] > 1 else "the same one"
    parts.append(
        prose(f"""By `benches/compare/run` on {machine["date"]}: {machine["cpu"]}, Linux {machine["kernel"]}, server on
            one core, load on {elsewhere}. {results["rounds"]} rounds of {results["seconds"]:g} s, all peers in turn in
            each. A ratio is the median of the rounds' ratios, ± half of the distance of its quartiles; this server,
            built static by stable Rust, is 1.00.""")
    )
    rows = [[known["name"], known["what"], known["version"] or "–"] for known in peers.values() if not known["missing"]]
    parts.append(figures.table(["peer", "what it is", "version"], rows, words=3))
    for known in peers.values():
        if known["missing"]:
            parts.append(f"**{known['name']}** is not among them: {known['missing'].strip()}")
    parts.append("## In short")
    parts.append(
        prose(
            f"""GETs of 1 KiB, kept, over 32 connections, and POSTs of 200 B over as many, a second of the server's CPU:
            the ratio, and the number. The latency is that of GETs of 4 KiB at {results["get_rate"]} a second. Memory
            is that after load."""
        )
    )
    parts.append(summary(results))
    if results["bounds"]:
        parts += ["## Bounds", "Ratios of this server to the peer, rounds of their own.", bounds(results)[0]]
    for title, chosen in (("GET", gets), ("POST", posts)):
        if not chosen:
            continue
        parts.append(f"## {title}")
        parts.append(ABOUT[title])
        for what, figure in (("of the server's CPU", PER_CPU), ("of the clock", PER_SECOND)):
            parts.append(f"Requests per second {what}, beside this server:")
            parts.append(throughput(results, chosen, figure, relative))
            more = ", and a + where the load could not ask for more" if figure == PER_SECOND else ""
            parts.append(f"In numbers{more}:")
            parts.append(throughput(results, chosen, figure, absolute))
    failed = [
        f"- {work['title']}, {peers[peer]['name']}: {what}"
        for work in (*works, *results["latency"].values())
        for peer, what in work["peers"].items()
        if isinstance(what, str)
    ]
    if failed:
        parts.append("Failed:\n\n" + "\n".join(failed))
    if results["latency"]:
        parts += ["## Latency at a fixed rate", ABOUT["latency"]]
        parts += [latency(results, work) for work in results["latency"].values()]
    if results["alone"]:
        parts += ["## Memory, disk, start and system calls", ABOUT["alone"], alone(results)]
    return "\n\n".join(parts) + "\n"


def picture(results):
    """The three figures for which it is chosen."""
    gets, posts = results["work"]["get-1024"], results["work"]["post-200"]

    styles = {OURS: "ours", "tiny": "ours", "limit": "limit"}

    def rates(work):
        seen = [(peer, median(work, peer, PER_CPU)) for peer in present(results, [work]) if peer != "durable"]
        return [
            (results["peers"][peer]["name"], value, figures.number(value), styles.get(peer, "peer"))
            for peer, value in seen
        ]

    memory = [
        (
            results["peers"][peer]["name"],
            found["loaded"]["pss"],
            figures.size(found["loaded"]["pss"]),
            styles.get(peer, "peer"),
        )
        for peer, found in results["alone"].items()
        if peer != "limit"
    ]
    panels = [
        {
            "title": "GETs per second of CPU",
            "note": "status of 1 KiB, 32 kept connections; more is better",
            "bars": rates(gets),
        },
        {
            "title": "POSTs per second of CPU",
            "note": "status of 200 bytes, 32 kept connections; more is better",
            "bars": rates(posts),
        },
        {
            "title": "Resident memory after load",
            "note": "all processes, logarithmic scale; less is better",
            "bars": memory,
            "log": 4,
            "tick": lambda value: figures.size(round(value)),
        },
    ]
    told = "; ".join(
        f"{panel['title']}: " + ", ".join(f"{name} {label}" for name, _, label, _ in panel["bars"]) for panel in panels
    )
    return chart.bars("gitops-status-server beside its peers", told + ".", panels)
