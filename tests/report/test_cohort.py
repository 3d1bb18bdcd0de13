"""Which results stand out, which failures are alike, and what the page shows."""

import numpy as np

from deformgan.report.cohort import Line, causes, standing_out, write_cohort_report


def lines(**measures):
    count = len(next(iter(measures.values())))
    return [
        Line(f"p{n}", f"p{n}/report.html", f"p{n}.jpg", "done", values={k: float(v[n]) for k, v in measures.items()})
        for n in range(count)
    ]


def test_the_bad_side_alone_stands_out_and_the_farthest_comes_first():
    rng = np.random.default_rng(3)
    dice, folding = 0.8 + 0.02 * rng.standard_normal(50), np.zeros(50)
    dice[7], dice[8], folding[9] = 0.2, 0.99, 1.0
    ranked = standing_out(lines(dice=dice, folding_percent=folding))
    found = {line.name: reasons for line, _, reasons in ranked if reasons}
    assert [line.name for line, _, _ in ranked[:2]] == ["p9", "p7"] and found.keys() == {"p7", "p9"}
    assert found["p7"][0].startswith("Dice 0.200, median 0.8")
    assert ranked[0][1] == 1.0 / 0.02  # all others are alike: the least difference that says something


def test_differences_that_say_little_do_not_stand_out():
    assert not any(reasons for _, _, reasons in standing_out(lines(inverse_error_mm=[0.001] * 20 + [0.04])))


def test_a_warning_stands_out():
    found = lines(similarity=[0.5] * 10)
    found[4].warnings = ("the affine is kept",)
    assert standing_out(found)[0][0].name == "p4" and standing_out(found)[0][2] == ["the affine is kept"]


def test_a_suspect_result_comes_first_and_is_counted(tmp_path):
    found = lines(dice=[0.8] * 20 + [0.1])
    found[4].suspect = ("the inverse misses by 3.0 mm",)
    ranked = standing_out(found)
    assert [line.name for line, _, _ in ranked[:2]] == ["p4", "p20"]
    assert ranked[0][2] == ["suspect: the inverse misses by 3.0 mm"]
    write_cohort_report(tmp_path / "report.html", found, tmp_path)
    assert "1 suspect: may be worse" in (tmp_path / "report.html").read_text()


def test_failures_that_differ_in_names_and_numbers_are_one_cause():
    reasons = [
        "moving: no such file: /a/b.nii",
        "moving: no such file: /c d/e.nii",
        "may need 7.5 GB",
        "may need 9.1 GB",
    ]
    failed = [Line(f"p{n}", status="failed", reason=text) for n, text in enumerate([*reasons[:1], *reasons])]
    found = causes(failed)
    assert [cause["count"] for cause in found] == [3, 2] or [cause["count"] for cause in found] == [2, 2, 1]
    assert found[0]["reason"] == reasons[0] and found[0]["names"][0] == "p0"


def test_the_page_holds_its_pictures_and_escapes_names(tmp_path):
    found = lines(dice=[0.8] * 10, seconds=range(10), folding_percent=[0.25] * 10)
    found[3].name, found[3].report, found[3].values["dice"] = "<b>x</b>", "pairs/a b%/report.html", 0.1
    found.append(Line("lost", status="failed", reason="<script>"))
    (tmp_path / "p3.jpg").write_bytes(b"\xff\xd8picture")
    write_cohort_report(tmp_path / "report.html", found, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "data:image/jpeg;base64,/9hwaWN0dXJl" in page
    assert "<b>x</b>" not in page and "<script>" not in page and 'href="pairs/a%20b%25/report.html"' in page
    assert page.count("<svg") == 2 and "Folding 0.250 %" in " ".join(
        page.split()
    )  # the same for all needs no histogram


def test_a_page_of_nothing_but_failures(tmp_path):
    write_cohort_report(tmp_path / "r.html", [Line("a", status="failed", reason="why")], tmp_path)
    assert "why" in (tmp_path / "r.html").read_text()
