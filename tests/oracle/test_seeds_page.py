"""The page of the notes: what it says of claims, which experiments it has, its pictures, and the command that writes it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import purenet as pn
from oracle import seeds
from oracle.seeds import drawing
from oracle.seeds.experiment import Setting
from oracle.seeds.section import Claim, Section, page, text
from tests.oracle.conftest import Run

QUICK = Setting()
PUBLISHED = Setting(Path("somewhere"))


# ------------------------------------------------------------------------------------------------- claims


def test_what_is_not_asserted_passes_and_is_counted() -> None:
    claims = (Claim("this", True), Claim("that", None), Claim("those", False, because="the other is true"))
    section = Section("A title", ("Prose.",), claims)
    assert section.passed
    assert max(map(len, text([section]).splitlines())) <= 80
    said = " ".join(text([section]).split())
    assert "Claim: that result: not decided at this size" in said
    assert "does not hold here, because the other is true" in said
    assert "FALSE" not in said
    assert (
        "3 claims of the published notes checked: 1 holds; 1 does not hold here, for a reason that is given; 1 not decided at"
        in said
    )
    assert "- not decided at this size: that" in page([section])


def test_published_and_measured_stand_below_the_claim() -> None:
    section = Section("A title", (), (Claim("it learns", False, published="0.9", measured="0.1"),))
    lines = ["Claim: it learns", "  the notes say: 0.9", "  measured here: 0.1", "  result: FALSE"]
    assert text([section]).splitlines()[3:7] == lines
    assert "- **false**: it learns; the notes say: 0.9; measured here: 0.1" in page([section])


# ------------------------------------------------------------------------------------------------- which experiments


def test_experiments_are_chosen_by_name_in_the_order_of_the_page() -> None:
    assert seeds.chosen([]) == [*seeds.EXPERIMENTS]
    assert seeds.chosen(["valley", "descent", "valley"]) == ["descent", "valley"]
    with pytest.raises(ValueError, match="no experiment is named 'vally'; did you mean valley"):
        seeds.chosen(["descent", "vally"])


@pytest.mark.parametrize("name", [name for name in seeds.EXPERIMENTS if name != "gradient_check"])
def test_the_published_sizes_are_not_smaller_than_the_quick_ones(name: str) -> None:
    quick, published = (seeds.EXPERIMENTS[name].pieces(setting) for setting in (QUICK, PUBLISHED))
    assert len(published) >= len(quick) >= 1
    for a, b in zip(quick, published, strict=False):
        assert getattr(a, "steps", 0) <= getattr(b, "steps", 0)


# ------------------------------------------------------------------------------------------------- pictures


def test_a_picture_has_no_date_and_is_the_same_each_time_but_for_rounding() -> None:
    x = np.linspace(0.1, 1, 300)
    panels = [drawing.Panel("a", {"line": (x, x**2), "other": (x, 1 / x)}, "x", "y", log_y=True)]
    nudged = [panels[0]._replace(lines={"line": (x, x**2 * (1 + 1e-13)), "other": (x, 1 / x)})]
    first, second = (drawing.curves("a.svg", "lines", own).draw() for own in (panels, nudged))
    assert first == second
    root = ET.fromstring(first)  # noqa: S314 - written above
    assert root.tag.endswith("svg")
    assert "date" not in first.lower()
    assert "math" not in first
    assert len(first) < 20_000


def test_what_is_not_finite_is_not_drawn() -> None:
    panel = drawing.Panel("", {"line": ([1, 2, 3, 4], [1.0, np.inf, np.nan, 2.0])})
    drawn = drawing.curves("a.svg", "lines", [panel]).draw()
    assert "nan" not in drawn.lower()


def test_a_smoothed_loss_is_the_mean_of_the_last() -> None:
    np.testing.assert_allclose(drawing.smoothed([1.0, 2.0, 3.0, 4.0], 2), [1.0, 1.5, 2.5, 3.5])


def test_images_fill_a_mosaic() -> None:
    normal = np.asarray(pn.random.normal(pn.random.key(0), (20, 5, 5)))
    picture = drawing.images("a.svg", "images", {"one": normal, "two": np.zeros((3, 5, 5))})
    assert picture.draw() == picture.draw()
    assert picture.draw().count("<image") == 2


def test_histograms_have_a_row_for_each_name() -> None:
    normal = np.asarray(pn.random.normal(pn.random.key(0), (3, 100)))
    drawn = drawing.histograms("a.svg", "histograms", {"first": normal, "second": 0 * normal}, (-1.0, 1.0)).draw()
    assert [drawn.count(word) for word in (">first<", ">second<", ">layer 3<", ">layer 4<")] == [1, 1, 1, 0]


# ------------------------------------------------------------------------------------------------- the command line


def test_a_folder_without_the_digits_is_named_in_one_line(run: Run, tmp_path: Path) -> None:
    code, out, err = run("seeds", "valley", "--data", str(tmp_path / "nowhere"))
    assert (code, out) == (4, "")
    assert err == f"oracle: {tmp_path / 'nowhere'}: expected a folder with the IDX files of MNIST, found nothing\n"


def test_an_unknown_experiment_is_named_in_one_line(run: Run) -> None:
    code, _, err = run("seeds", "vally")
    assert code == 4
    assert err.startswith("oracle: no experiment is named 'vally'; did you mean valley?")
    assert err.count("\n") == 1


def test_a_chosen_experiment_leaves_the_page_of_all_alone(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("seeds", "valley", "--jobs", "1")
    assert code == 0
    assert "not written" in out
    assert not (tmp_path / "reports").exists()
    code, _, _ = run("seeds", "valley", "--jobs", "1", "--reports", "own")
    assert code == 0
    assert "](seeds/valley.svg)" in (tmp_path / "own" / "seeds.md").read_text()
    assert (tmp_path / "own" / "seeds" / "valley.svg").read_text().startswith("<?xml")


def test_a_false_claim_is_an_exit_code(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    false = seeds.experiment.in_one_piece(lambda setting: Section("A title", (), (Claim("it is so", False),)))
    monkeypatch.setitem(seeds.EXPERIMENTS, "valley", false)
    code, out, _ = run("seeds", "valley", "--jobs", "1")
    assert code == 1
    assert "Claim: it is so\n  result: FALSE" in out
