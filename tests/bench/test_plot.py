from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.bench.made_up import fill, made_up_sweep
from toolkit.bench.plot import draw, pareto_front, require
from toolkit.bench.records import scan_sweep
from toolkit.bench.summary import Summary, summarize
from toolkit.errors import MissingExtraError

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def summary(tmp_path: Path) -> Summary:
    folder, sweep, _ = made_up_sweep(tmp_path)
    fill(folder, sweep)
    return summarize([scan_sweep(folder)])


def texts(svg: str) -> list[str]:
    elements = ElementTree.fromstring(svg).iter()
    return [element.text or "" for element in elements if element.tag in (f"{SVG}text", f"{SVG}tspan")]


def test_the_front() -> None:
    assert pareto_front([(1, 5), (2, 4), (1, 4), (3, 1), (2, 1), (2, 4)]) == [True, True, False, True, False, True]
    assert pareto_front([]) == []
    assert pareto_front([(1, 1)]) == [True]


def test_the_plot_says_what_it_shows(summary: Summary) -> None:
    pytest.importorskip("altair")
    found = texts(draw(summary))
    assert "CPU, triton: throughput of the system against speed for a user" in found
    assert "Made-up CPU for tests, 2 cores, 8 GiB" in found
    assert f"{summary.tables[0].runs[0].name}; 2025-01-01" in found
    assert "tok/s/user: output tokens per second of one user" in found
    assert "tok/s per system: output tokens per second" in found
    assert {"4 / 3", "4 / 5"} <= set(found)
    assert sorted(text for text in found if text.startswith("c=")) == ["c=1", "c=1", "c=2", "c=2"]


def test_the_svg_needs_nothing_else_and_has_a_background(summary: Summary) -> None:
    pytest.importorskip("altair")
    svg = draw(summary)
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    background = next(iter(root))
    assert (background.tag, background.get("fill")) == (f"{SVG}rect", "white")
    assert (background.get("width"), background.get("height")) == (root.get("width"), root.get("height"))
    outside = {f"{SVG}image", f"{SVG}script", f"{SVG}style", f"{SVG}use"}
    assert [element.tag for element in root.iter() if element.tag in outside] == []
    assert [name for element in root.iter() for name in element.attrib if name.endswith("href")] == []


def test_each_hardware_has_its_own_panel(tmp_path: Path) -> None:
    pytest.importorskip("altair")
    sweeps = [made_up_sweep(tmp_path, name=name, hardware=name.upper()) for name in ("cpu", "gpu")]
    for folder, sweep, _ in sweeps:
        fill(folder, sweep)
    found = texts(draw(summarize(scan_sweep(folder) for folder, _, _ in sweeps)))
    assert [text for text in found if "throughput of the system" in text] == [
        "CPU, triton: throughput of the system against speed for a user",
        "GPU, triton: throughput of the system against speed for a user",
    ]


@pytest.mark.parametrize("package", ["altair", "vl_convert"])
def test_a_missing_package(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"'altair' is not installed. Type: pip install 'trtkit\[report\]'"):
        require()
