"""What of the comparison is pure: figures, tables, pictures, and what it posts. `pytest benches/compare`."""

import importlib.machinery
import importlib.util
import json
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True

import chart
import figures
import measure
import peers
import report

SVG = "{http://www.w3.org/2000/svg}"


def program(name):
    loader = importlib.machinery.SourceFileLoader(name, str(HERE / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


growth = program("growth")


def load_result(per_cpu, p99=100, load_cpu_seconds=0.5):
    latency = {"p50": p99 / 2, "p99": p99, "p999": p99 * 2, "max": p99 * 3, "mean": p99 / 2}
    rates = {"requests_per_cpu_second": per_cpu, "requests_per_second": per_cpu / 2}
    return rates | {"latency_us": latency, "seconds": 1, "load_cpu_seconds": load_cpu_seconds}


@pytest.fixture
def results():
    def work(title, kind, **given):
        return {"title": title, "kind": kind, "peers": {key: [load_result(n) for n in of] for key, of in given.items()}}

    def alone(pss):
        memory = {"pss": pss, "rss": 2 * pss}
        return {"start": [0.002, 0.004, 0.003], "idle": memory, "loaded": memory, "disk": 471600, "calls": 3.001}

    names = {"ours": "this server", "durable": "this server, durable", "nginx": "nginx <1>", "lighttpd": "lighttpd"}
    return {
        "machine": {"date": "2026-01-02", "cpu": "a CPU", "kernel": "6.1", "cores": 2},
        "peers": {
            key: {"name": name, "what": "a server", "version": "1", "missing": None} for key, name in names.items()
        }
        | {"original": {"name": "nginx + Flask", "what": "", "version": "", "missing": "Flask is not installed"}},
        "rounds": 3,
        "seconds": 1,
        "tolerance": 0,
        "get_rate": 2000,
        "work": {
            "get-1024": work("1 KiB", "get", ours=[100_000, 110_000, 90_000], nginx=[50_000, 55_000, 45_000]),
            "post-200": work("POST of 200 B", "post", ours=[80_000] * 3, durable=[400, 380, 420]),
        },
        "latency": {"get": work("GET, 2000 a second", "get", ours=[1000], nginx=[1000])},
        "alone": {"ours": alone(600 << 10), "nginx": alone(5 << 20)},
        "bounds": [
            {"title": "nginx, GETs", "least": 2.0, "missing": None, "ratios": [1.9, 2.1, 2.2]},
            {"title": "lighttpd, GETs", "least": 1.15, "missing": None, "ratios": [1.1, 1.1, 1.2]},
            {"title": "nginx + Flask, POSTs", "least": 100, "missing": "Flask is not installed", "ratios": []},
        ],
    }


@pytest.mark.parametrize("size", [100, 101, 128, 200, 255, 256, 1024, 4096, 61440, 65536, 1 << 20])
def test_a_status_has_exactly_as_many_bytes_as_were_asked_for_and_is_what_python_writes(size):
    status = peers.status(size)
    assert len(status) == size
    assert json.dumps(json.loads(status)).encode() == status


@pytest.mark.parametrize("size", [200, 4096, 61440])
def test_metrics_are_about_as_large_as_a_status(size):
    text = peers.metrics(size)
    assert text.endswith(b"\n") and size * 0.9 - 80 < len(text) <= size


def test_options_of_the_load_generator_are_flags():
    assert measure.flags({"cpu_of": "1,2", "close": True, "seconds": 0.5}) == [
        "--cpu-of",
        "1,2",
        "--close",
        "--seconds",
        "0.5",
    ]


def test_a_ratio_is_that_of_each_round():
    assert figures.ratios([50, 60], [100, 120]) == [0.5, 0.5]
    assert figures.ratio([0.5, 0.52, 0.48]) == "0.50 ±0.02"
    assert figures.ratio([0.00871]) == "0.0087"
    assert figures.ratio([123.4]) == "123.40"


def test_one_odd_round_does_not_change_the_spread():
    assert figures.spread([1, 1, 1, 1, 9]) == 0


@pytest.mark.parametrize(
    "value, text",
    [
        (0, "0"),
        (1234567, "1 230 000"),
        (999.9, "1 000"),
        (123, "123"),
        (45.67, "45.7"),
        (1, "1.00"),
        (0.01234, "0.0123"),
    ],
)
def test_a_number_has_three_digits(value, text):
    assert figures.number(value) == text


def test_units_are_those_that_are_easiest_to_read():
    assert [figures.size(n) for n in (100, 1024, 471600, 3 << 20)] == ["100 B", "1 KiB", "461 KiB", "3 MiB"]
    assert [figures.duration(s) for s in (0.00001234, 0.0042, 2)] == ["12.3 µs", "4.20 ms", "2.00 s"]


def test_columns_of_a_table_are_as_wide_as_what_is_in_them():
    assert figures.table(["", "a"], [["x", "100"], ["yy", 2]]).splitlines() == [
        "|    |   a |",
        "| -- | --: |",
        "| x  | 100 |",
        "| yy |   2 |",
    ]


def test_noise_is_no_growth_and_growth_is():
    assert not figures.grows([100, 103, 99, 101, 100, 102], 1.02, 0)
    assert figures.grows([100, 110, 120, 130, 140, 150], 1.02, 16)
    assert not figures.grows([100, 110, 120, 130, 140, 150], 1.02, 100)
    assert figures.grows([7, 7, 7, 8, 8, 8], 1, 0)


def test_the_first_part_of_a_soak_may_fill_what_is_filled_once():
    soak = [{"memory": 500_000, "descriptors": 7, "p99": 100}] + [{"memory": 900_000, "descriptors": 7, "p99": 110}] * 9
    assert growth.grown(soak) == []
    leak = [{"memory": 900_000 + at * 100_000, "descriptors": 7 + at, "p99": 100} for at in range(10)]
    assert growth.grown(leak) == ["memory", "descriptors"]


def test_bounds_that_do_not_hold_and_those_that_were_not_measured_are_named(results):
    table, broken = report.bounds(results)
    assert [line.rpartition("| ")[2] for line in broken] == broken
    assert [name.split(":")[0] for name in broken] == ["lighttpd, GETs", "nginx + Flask, POSTs"]
    assert "2.10 ±0.15" in table and "does not hold" in table and "not measured" in table
    results["tolerance"] = 0.1
    assert len(report.bounds(results)[1]) == 1


def test_the_report_has_ratios_numbers_and_who_is_missing(results):
    text = report.markdown(results)
    assert "**nginx + Flask** is not among them: Flask is not installed" in text
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert ["1 KiB", "1.00", "0.50 ±0.00"] in rows
    assert ["1 KiB", "100 000", "50 000"] in rows
    assert ["POST of 200 B", "1.00", "0.0050 ±0.0003"] in rows
    assert ["nginx <1>", "0.50 (50 000)", "–", "100 µs", "5 MiB", "461 KiB", "3.00 ms", "3.0"] in rows


def test_a_rate_that_the_load_bounded_is_marked(results):
    results["work"]["get-1024"]["peers"]["nginx"] = [load_result(50_000, load_cpu_seconds=0.99)]
    assert " 25 000+ |" in report.markdown(results)


def test_who_failed_is_named_with_the_reason(results):
    results["work"]["get-1024"]["peers"]["lighttpd"] = "3 of 5 requests failed"
    assert "- 1 KiB, lighttpd: 3 of 5 requests failed" in report.markdown(results)


def drawn(svg):
    """The words of a picture, once it is known to be well-formed, named, without scripts, and all within its edges."""
    root = xml.etree.ElementTree.fromstring(svg)
    width, height = float(root.get("width")), float(root.get("height"))
    assert root.get("role") == "img" and root.get("aria-labelledby") == "title desc"
    assert root.find(SVG + "title").text and root.find(SVG + "desc").text
    assert (
        "<script" not in svg and "prefers-color-scheme: dark" in svg and "nan" not in svg.lower().replace("nance", "")
    )
    for rect in root.iter(SVG + "rect"):
        assert float(rect.get("x")) + float(rect.get("width")) <= width
    words = []
    for text in root.iter(SVG + "text"):
        words.append(text.text)
        # An upper bound for the width of a letter of 13 to 15 px.
        x, long = float(text.get("x")), 7.6 * len(text.text)
        x -= {None: 0, "middle": long / 2, "end": long}[text.get("text-anchor")]
        assert 0 <= x and x + long <= width and float(text.get("y")) < height, text.text
    return words


def test_the_picture_of_a_comparison_shows_every_peer_that_was_measured(results):
    svg = report.picture(results)
    words = drawn(svg)
    assert words.count("this server") == 3 and words.count("nginx <1>") == 2
    assert "100 000" in words and "5 MiB" in words
    assert "nginx &lt;1&gt; 50 000" in svg


def test_bars_are_as_long_as_what_they_show():
    panel = {"title": "t", "note": "n", "bars": [("a", 100, "100", "ours"), ("b", 25, "25", "peer")]}
    rects = [r for r in xml.etree.ElementTree.fromstring(chart.bars("t", "d", [panel])).iter(SVG + "rect")][1:]
    assert float(rects[0].get("width")) == pytest.approx(4 * float(rects[1].get("width")), abs=0.2)


def test_ticks_of_a_scale_are_round_and_hold_all_that_is_drawn():
    assert chart.Steps([3, 97_000]).ticks == [0, 20_000, 40_000, 60_000, 80_000, 100_000]
    assert chart.Log([0.5, 30]).ticks == [0.1, 1, 10, 100]
    assert chart.Log([300, 5000], 4).ticks == [256, 1024, 4096, 16384]


def test_the_picture_of_growth_has_a_line_for_each_server():
    def curve(values, factor):
        return [
            {"at": v, report.PER_CPU: factor * 1e5 / (at + 1), "memory": factor << 20} for at, v in enumerate(values)
        ]

    given = {
        "names": {"ours": "this server", "nginx": "nginx"},
        "connections": {key: curve(growth.CONNECTIONS, f) for key, f in (("ours", 2), ("nginx", 1))},
        "sizes": {key: curve(growth.SIZES, f) for key, f in (("ours", 2), ("nginx", 1))},
    }
    words = drawn(growth.picture(given))
    assert words.count("this server") == 4 and words.count("nginx") == 4 and "1024" in words and "64 KiB" in words
