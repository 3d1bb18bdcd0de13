import json

import pytest

from deformgan.errors import InputError
from deformgan.io.pairs import read_manifest


@pytest.fixture
def folder(tmp_path):
    for name in ("a.nii", "b.nii", "c.nii"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_csv_and_json_say_the_same(folder):
    (folder / "p.csv").write_text("fixed,moving,subject,split\na.nii,b.nii,s1,train\na.nii,c.nii,,\n")
    rows = [
        {"fixed": "a.nii", "moving": "b.nii", "subject": "s1", "split": "train"},
        {"fixed": "a.nii", "moving": "c.nii"},
    ]
    (folder / "p.json").write_text(json.dumps(rows))
    pairs = read_manifest(folder / "p.csv")
    assert pairs == read_manifest(folder / "p.json")
    assert pairs[0].fixed == str(folder / "a.nii") and pairs[0].split == "train"
    assert pairs[1].subject == str(folder / "a.nii")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fixed,moving\na.nii,zz.nii\n", ["row 2", "moving", "no such file", "zz.nii"]),
        ("fixed,movin\na.nii,b.nii\n", ["row 2", "'movin'", "did you mean moving?"]),
        ("fixed,moving\n,b.nii\n", ["row 2", "fixed is empty"]),
        ("fixed,moving,split\na.nii,b.nii,test\n", ["row 2", "split", "'test'"]),
        ("fixed,moving\n", ["no pairs"]),
        ("", ["no pairs"]),
        ("fixed,moving\na.nii,b.nii,c.nii\n", ["row 2", "unknown column"]),
    ],
)
def test_a_mistake_is_named_with_its_row(folder, text, words):
    (folder / "p.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        read_manifest(folder / "p.csv")
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("text", ["{", "{}", "[1]"])
def test_json_that_is_no_list_of_objects(folder, text):
    (folder / "p.json").write_text(text)
    with pytest.raises(InputError, match=r"p\.json"):
        read_manifest(folder / "p.json")
