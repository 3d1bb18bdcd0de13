"""From tables to jobs: settings, names, and names that would lead elsewhere."""

import json
from pathlib import Path

import pytest

from deformgan.cohort.pairs import check_name, distinct, jobs_of_manifest
from deformgan.errors import InputError
from deformgan.registration.options import RegisterOptions


def jobs(folder: Path, text: str, **defaults: str):
    (folder / "pairs.csv").write_text(text)
    return distinct(jobs_of_manifest(folder / "pairs.csv", folder / "out", defaults))


def test_a_row_has_its_own_settings_and_the_batch_gives_the_rest(tmp_path):
    head = "fixed,moving,name,preset,search,max_shift,seed\n"
    text = f"{head}a/f.nii.gz,m.nii,one,,false,12.5,\nf.mha,m.nii,site/2,accurate,,,3\n"
    one, two = jobs(tmp_path, text, preset="fast", seed="9")
    assert one.options == RegisterOptions(preset="fast", search=False, max_shift=12.5, seed=9)
    assert two.options == RegisterOptions(preset="accurate", seed=3)
    assert one.files.fixed == str(tmp_path / "a" / "f.nii.gz")
    assert two.home == tmp_path / "out" / "pairs" / "site" / "2"


def test_json_says_the_same_as_csv(tmp_path):
    rows = [{"fixed": "f.nii", "moving": "m.nii", "search": False, "max_scale": 1.2, "threads": 0, "model": None}]
    (tmp_path / "p.json").write_text(json.dumps(rows))
    (job,) = jobs_of_manifest(tmp_path / "p.json", tmp_path, {})
    (other,) = jobs(tmp_path, "fixed,moving,search,max_scale,threads,model\nf.nii,m.nii,no,1.2,0,none\n")
    assert job.options == other.options == RegisterOptions(search=False, max_scale=1.2)


def test_names_come_from_name_subject_or_files(tmp_path):
    text = "fixed,moving,name,subject\nct.nii.gz,mr.mha,a,s1\nct.nii.gz,mr.mha,,s2\nct.nii.gz,scan/,,\n"
    assert [job.name for job in jobs(tmp_path, text)] == ["a", "s2", "scan_to_ct"]


def test_the_key_follows_what_the_result_depends_on(tmp_path):
    text = "fixed,moving,name,preset,threads,device,seed\n" + "".join(
        f"f.nii,m.nii,{row}\n" for row in ("a,,,,", "b,,1,cuda,", "c,fast,,,", "d,,,,1")
    )
    a, b, c, d = (job.key for job in jobs(tmp_path, text))
    assert a == b and len({a, c, d}) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fixed,moving,preset\nf,m,fats\n", "row 2: preset must be one of"),
        ("fixed,moving,max_shift\nf,m,far\n", "row 2: max_shift must be a number; got 'far'"),
        ("fixed,moving,search\nf,m,perhaps\n", "row 2: search must be true or false"),
        ("fixed,moving,presets\nf,m,fast\n", "did you mean preset"),
        ("fixed,moving,name\nf,m,../x\n", "row 2: '../x' cannot be"),
        ("fixed,moving\nf,m\nf,m\n", "two pairs are called m_to_f"),
        ("fixed,moving,name\nf,m,A\nf,m,a\n", "two pairs are called a"),
        ("fixed,moving,name\nf,m,a\nf,m,a/b\n", "pair a would hold the folder of another"),
    ],
)
def test_mistakes_stop_before_anything_is_done(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        jobs(tmp_path, text)


@pytest.mark.parametrize(
    "name", ["..", "a/../../b", "/etc", "a//b", "a\\b", ".hidden", "a/.", "a ", "x" * 101, "n\n", "c:d", "", "-a"]
)
def test_a_name_that_would_lead_elsewhere_is_refused(name):
    with pytest.raises(InputError, match="cannot be the name of a folder"):
        check_name(name, "here")


@pytest.mark.parametrize("name", ["a", "site 1/sub-01", "é", "..".join("ab"), "x" * 100])
def test_a_plain_name_is_taken(name):
    check_name(name, "here")
