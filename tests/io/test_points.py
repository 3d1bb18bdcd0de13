"""Landmarks of CSV and Slicer files: the space each states, what is kept, what is refused."""

import json

import numpy as np
import pytest

from deformgan.errors import InputError, OutputError
from deformgan.io.points import Landmarks, read_landmarks, write_landmarks

LPS = np.array([[10.5, -20.25, 30.0], [1.0, 2.0, -3.125]])
RAS = LPS * [-1, -1, 1]

# As Slicer 4.10 (RAS, number) and Slicer 5 (LPS, word) write them.
FCSV = """# Markups fiducial file version = {version}
# CoordinateSystem = {system}
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
vtkMRMLMarkupsFiducialNode_0,{a[0]},{a[1]},{a[2]},0,0,0,1,1,0,1,"apex, left",seen by me,vtkMRMLScalarVolumeNode1
vtkMRMLMarkupsFiducialNode_1,{b[0]},{b[1]},{b[2]},0,0,0,1,0,1,0,F-2,,
"""


def markups(system, points):
    return {
        "@schema": "markups-schema-v1.0.3.json#",
        "markups": [
            {
                "type": "Curve",
                "coordinateSystem": system,
                "locked": True,
                "controlPoints": [
                    {"id": "1", "label": "a", "position": list(points[0]), "description": "é", "locked": True},
                    {"id": "2", "label": "not yet", "position": [0, 0, 0], "positionStatus": "undefined"},
                    {"id": "3", "label": "b", "position": list(points[1]), "positionStatus": "defined"},
                ],
                "display": {"color": [0.4, 1.0, 1.0]},
            }
        ],
    }


@pytest.mark.parametrize(
    ("header", "points", "space"),
    [
        ("name,x_lps,y_lps,z_lps", LPS, None),
        ("NAME, X_RAS, Y_RAS, Z_RAS", RAS, None),
        ("name,x,y,z", LPS, "LPS"),
        ("label;x;y;z", RAS, "ras"),
    ],
)
def test_csv_of_either_space(tmp_path, header, points, space):
    mark = ";" if ";" in header else ","
    rows = [mark.join([name, *map(str, row)]) for name, row in zip("ab", points.tolist(), strict=True)]
    (tmp_path / "p.csv").write_text("\n".join([header, *rows]) + "\n")
    found = read_landmarks(tmp_path / "p.csv", space=space)
    np.testing.assert_allclose(found.points, LPS)
    assert found.names == ("a", "b")


@pytest.mark.parametrize(
    ("version", "system", "points"), [("4.10", 0, RAS), ("4.11", "LPS", LPS), ("4.11", "RAS", RAS)]
)
def test_fcsv_of_old_and_new_slicer_keeps_all_but_the_coordinates(tmp_path, version, system, points):
    text = FCSV.format(version=version, system=system, a=points[0], b=points[1])
    (tmp_path / "p.fcsv").write_text(text, encoding="utf-8")
    found = read_landmarks(tmp_path / "p.fcsv")
    np.testing.assert_allclose(found.points, LPS)
    assert found.names == ("apex, left", "F-2")
    moved = Landmarks(found.points + np.array([1, 2, 3]), found.names)
    write_landmarks(moved, tmp_path / "q.fcsv", template=tmp_path / "p.fcsv")
    lines, before = (tmp_path / "q.fcsv").read_text(encoding="utf-8").splitlines(), text.splitlines()
    assert lines[:3] == before[:3] and lines[3].endswith(before[3].split("0,0,0,1,", 1)[1])
    np.testing.assert_allclose(read_landmarks(tmp_path / "q.fcsv").points, LPS + np.array([1, 2, 3]))
    stored = np.array([[float(v) for v in line.split(",")[1:4]] for line in lines[3:]])
    np.testing.assert_allclose(stored, points + (np.array([1, 2, 3]) if system == "LPS" else [-1, -2, 3]))


@pytest.mark.parametrize(("system", "points"), [("LPS", LPS), ("RAS", RAS)])
def test_markups_keep_all_but_the_positions(tmp_path, system, points):
    document = markups(system, points.tolist())
    (tmp_path / "p.mrk.json").write_text(json.dumps(document), encoding="utf-8")
    found = read_landmarks(tmp_path / "p.mrk.json")
    np.testing.assert_allclose(found.points, LPS)
    assert found.names == ("a", "b")
    write_landmarks(Landmarks(LPS + 5, found.names), tmp_path / "q.mrk.json", template=tmp_path / "p.mrk.json")
    kept = json.loads((tmp_path / "q.mrk.json").read_text(encoding="utf-8"))
    expected = (LPS + 5) * ([1, 1, 1] if system == "LPS" else [-1, -1, 1])
    old, new = (d["markups"][0]["controlPoints"] for d in (document, kept))
    for slot, value in zip((0, 2), expected.tolist(), strict=True):
        assert new[slot]["position"] == value
        new[slot]["position"] = old[slot]["position"]
    assert kept == document


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".fcsv", ".mrk.json"])
@pytest.mark.parametrize("space", [None, "RAS"])
def test_written_anew_and_read_back(tmp_path, ending, space):
    landmarks = Landmarks(LPS, ('a "b", c', ""))
    write_landmarks(landmarks, tmp_path / f"p{ending}", space=space)
    found = read_landmarks(tmp_path / f"p{ending}")
    np.testing.assert_allclose(found.points, LPS)
    assert found.names == landmarks.names
    assert ("20.25" in (tmp_path / f"p{ending}").read_text(encoding="utf-8")) and (
        ("-20.25" in (tmp_path / f"p{ending}").read_text(encoding="utf-8")) == (space is None)
    )
    assert [p.name for p in tmp_path.iterdir()] == [f"p{ending}"]


def test_csv_as_template_keeps_other_columns_and_their_order(tmp_path):
    (tmp_path / "p.csv").write_text("# by hand\nwho,z_ras,y_ras,x_ras,score\nme,30,20.25,-10.5,7\n")
    write_landmarks(Landmarks(LPS[:1] + 1, ("",)), tmp_path / "q.csv", template=tmp_path / "p.csv")
    assert (tmp_path / "q.csv").read_text(encoding="utf-8") == (
        "# by hand\nwho,z_ras,y_ras,x_ras,score\nme,31.000000,19.250000,-11.500000,7\n"
    )


@pytest.mark.parametrize(
    ("name", "text", "space", "says"),
    [
        ("p.csv", "name,x,y,z\na,1,2,3\n", None, "--space"),
        ("p.csv", "x_lps,y_lps,z_lps\n1,2,3\n", "RAS", "the file says LPS"),
        ("p.csv", "1,2,3\n4,5,6\n", "LPS", "expected columns"),
        ("p.csv", "", None, "empty"),
        ("p.csv", "x_lps,y_lps,z_lps\n1,2\n", None, "row 1 has 2 of 3"),
        ("p.csv", "x_lps;y_lps;z_lps\n1,5;2;3\n", None, "decimal point"),
        ("p.csv", "name,x_lps,y_lps,z_lps\nq,1,nan,3\n", None, "'q'"),
        ("p.csv", "x,y,z\n1,2,3\n", "MNI", "LPS or RAS"),
        ("p.fcsv", "# CoordinateSystem = IJK\n1,2,3,4\n", None, "IJK"),
        ("p.fcsv", "1,2,3,4\n", None, "--space"),
        ("p.mrk.json", "{", None, "JSON"),
        ("p.mrk.json", '{"markups": [{"type": "ROI"}]}', None, "ROI"),
        ("p.mrk.json", '{"markups": [{"controlPoints": [{"position": [1, 2]}]}]}', None, "three numbers"),
        ("p.xyz", "1 2 3", None, ".mrk.json"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path, name, text, space, says):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=says) as caught:
        read_landmarks(tmp_path / name, space=space)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_what_cannot_be_written_says_why(tmp_path):
    one = Landmarks(LPS[:1], ("a",))
    with pytest.raises(OutputError, match="rename"):
        write_landmarks(one, tmp_path / "p.doc")
    with pytest.raises(OutputError, match="folder"):
        write_landmarks(one, tmp_path / "no" / "p.csv")
    write_landmarks(Landmarks(LPS, ("a", "b")), tmp_path / "two.csv")
    with pytest.raises(InputError, match="template"):
        write_landmarks(one, tmp_path / "p.csv", template=tmp_path / "two.csv")
    with pytest.raises(InputError, match=r"\(N, 3\)"):
        Landmarks(np.zeros(3), ("a",))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["two.csv"]
